"""The step and the sequence function of an exported network as modules of PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssmbench.errors import require
from ssmbench.program import Operation, Program

#: The functions of one number, by their names.
_FUNCTIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "cos": torch.cos,
    "sin": torch.sin,
    "gelu": F.gelu,
    "gelu_tanh": lambda x: F.gelu(x, approximate="tanh"),
    "relu": F.relu,
    "sigmoid": torch.sigmoid,
    "silu": F.silu,
    "tanh": torch.tanh,
}


class ProgramModule(nn.Module):
    """(u, state) -> (y, state): one step, or with ``sequence`` several.

    u (B, width) or (B,) of tokens, or with steps (B, L, width) or (B, L); state (B, S).

    Raises:
        UsageError: an operation has no form in PyTorch.
    """

    def __init__(self, program: Program, *, sequence: bool):
        super().__init__()
        self.sequence, self.per_step = sequence, program.per_step
        self.register_buffer("initial", torch.from_numpy(program.initial.copy()))
        self.operations = [_Step(self, k, op) for k, op in enumerate(program.operations)]
        for operation in program.operations:
            require(
                operation.kind in _RULES,
                f"export: the operation {operation.kind} has no form in PyTorch; allowed: "
                + ", ".join(_RULES),
            )

    def forward(self, u: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """The prediction or the predictions, and the state after them."""
        values, after, start = [u], [], 0
        for step in self.operations:
            inputs = [values[k] for k in step.operation.inputs]
            size = len(step.operation.initial)
            if size:
                y, kept = step(state[:, start : start + size], *inputs)
                after.append(kept)
            else:
                y = step(*inputs)
            values.append(y)
            start += size
        y = values[-1]
        if self.sequence and not self.per_step:
            y = y[:, -1]
        return y, torch.cat(after, 1) if after else state.clone()


class _Step:
    """An operation whose arrays are buffers of the module."""

    def __init__(self, module: ProgramModule, index: int, operation: Operation):
        self.module, self.operation, self.index = module, operation, index
        for name, stored in operation.arrays.items():
            module.register_buffer(f"w{index}_{name}", torch.from_numpy(stored.codes.copy()))
            if stored.scale is not None:
                scale = torch.from_numpy(stored.scale.copy())
                module.register_buffer(f"w{index}_{name}_scale", scale)

    def __call__(self, *inputs: Tensor) -> Any:
        return _RULES[self.operation.kind](self, *inputs)

    def array(self, name: str) -> Tensor:
        """The numbers of an array, from how they are stored."""
        key = f"w{self.index}_{name}"
        value = getattr(self.module, key).float()
        scale = getattr(self.module, f"{key}_scale", None)
        return value if scale is None else value * scale

    def optional(self, name: str) -> Tensor | None:
        """As :meth:`array`; None if there is none."""
        return self.array(name) if name in self.operation.arrays else None

    def steps(self, x: Tensor) -> Tensor:
        """x with an axis of steps: of one step, or as it is."""
        return x if self.module.sequence else x[:, None]

    def as_given(self, y: Tensor) -> Tensor:
        """The inverse of :meth:`steps`."""
        return y if self.module.sequence else y[:, 0]


def _scale(step: _Step, x: Tensor) -> Tensor:
    y, offset = x * step.array("factor"), step.optional("offset")
    return y if offset is None else y + offset


def _slice(step: _Step, x: Tensor) -> Tensor:
    start, stop, by = (step.operation.options[key] for key in ("start", "stop", "step"))
    return x[..., start:stop:by]


def _sort_pairs(step: _Step, x: Tensor) -> Tensor:
    paired = x.shape[-1] // 2 * 2
    first, second = x[..., :paired:2], x[..., 1:paired:2]
    pairs = torch.stack([torch.maximum(first, second), torch.minimum(first, second)], -1)
    return torch.cat([pairs.flatten(-2), x[..., paired:]], -1)


def _standardise(step: _Step, x: Tensor) -> Tensor:
    return _root_mean_square(step, x - x.mean(-1, keepdim=True))


def _root_mean_square(step: _Step, x: Tensor) -> Tensor:
    return x * torch.rsqrt((x * x).mean(-1, keepdim=True) + step.operation.options["eps"])


def _diagonal(step: _Step, state: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    """Modes as (B, parts, H, N), where the parts are real and imaginary."""
    names = [k for k in ("re", "im") if f"lam_{k}" in step.operation.arrays]
    lam, B, C = ([step.array(f"{n}_{k}") for k in names] for n in ("lam", "B", "C"))
    u = _columns(step, x)
    drive = torch.cat([(matrix @ u)[..., 0] for matrix in B], -3)
    start = state.unflatten(1, (len(names), *lam[0].shape))

    def advance(s: Tensor) -> Tensor:
        if len(lam) == 1:
            return lam[0] * s
        re, im = s[:, 0], s[:, 1]
        return torch.stack([lam[0] * re - lam[1] * im, lam[1] * re + lam[0] * im], 1)

    before, final = _recur(step, start, drive, advance)
    y = (C[0] @ before[:, :, :1, ..., None])[..., 0]
    if len(C) == 2:
        y = y - (C[1] @ before[:, :, 1:, ..., None])[..., 0]
    return _with_direct(step, y, u), final.flatten(1)


def _dense(step: _Step, state: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    A, u = step.array("A"), _columns(step, x)
    drive = (step.array("B") @ u)[..., 0]
    start = state.unflatten(1, (1, *A.shape[:2]))
    before, final = _recur(step, start, drive, lambda s: (A @ s[..., None])[..., 0])
    y = (step.array("C") @ before[..., None])[..., 0]
    return _with_direct(step, y, u), final.flatten(1)


def _columns(step: _Step, x: Tensor) -> Tensor:
    """The inputs of each head as a column, (B, L, 1, H, m, 1)."""
    heads, _, inputs = step.operation.arrays["D"].codes.shape
    return step.steps(x).unflatten(-1, (1, heads, inputs, 1))


def _with_direct(step: _Step, y: Tensor, u: Tensor) -> Tensor:
    return step.as_given((y + (step.array("D") @ u)[..., 0]).flatten(2))


def _recur(
    step: _Step, start: Tensor, drive: Tensor, advance: Callable[..., Tensor], *varying: Tensor
) -> tuple[Tensor, Tensor]:
    """The state before each step (B, L, ...), and after the last, of s <- advance(s) + drive;
    ``varying``: further arguments of advance, for every step."""
    if not step.module.sequence:
        return start[:, None], advance(start, *(v[:, 0] for v in varying)) + drive[:, 0]
    from torch._higher_order_ops.scan import scan

    def combine(s: Tensor, now: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        return (advance(s, *now[1:]) + now[0]).contiguous(), s.clone()

    steps = tuple(each.movedim(1, 0).contiguous() for each in (drive, *varying))
    final, before = scan(combine, start.contiguous(), steps, dim=0)
    return before.movedim(0, 1), final


def _unit(step: _Step, x: Tensor) -> Tensor:
    v = x.unflatten(-1, (-1, step.operation.options["size"]))
    return (v / (torch.linalg.vector_norm(v, dim=-1, keepdim=True) + 1e-6)).flatten(-2)


def _sum_groups(step: _Step, x: Tensor) -> Tensor:
    return x.unflatten(-1, (-1, step.operation.options["size"])).sum(-1)


def _varying(step: _Step, state: Tensor, x: Tensor, *selected: Tensor) -> tuple[Tensor, Tensor]:
    """States as (B, G, P, N), for G groups of P channels."""
    groups = step.operation.options["groups"]
    u = step.steps(x).unflatten(-1, (groups, -1))
    lam, B, C = (step.steps(m).unflatten(-1, (groups, 1, -1)) for m in selected[:3])
    start = state.unflatten(1, (groups, u.shape[-1], lam.shape[-1]))
    before, final = _recur(step, start, B * u[..., None], lambda s, now: now * s, lam)
    y = (C * before).sum(-1) + step.steps(selected[3])[..., None] * u
    return step.as_given(y.flatten(2)), final.flatten(1)


def _convolution(step: _Step, state: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    weight, given = step.array("weight"), step.steps(x)
    width, kernel = weight.shape
    extended = torch.cat([state.unflatten(1, (kernel - 1, width)), given], 1)
    y = F.conv1d(extended.mT, weight[:, None], step.optional("bias"), groups=width).mT
    return step.as_given(y), extended[:, extended.shape[1] - (kernel - 1) :].flatten(1)


def _mean(step: _Step, state: Tensor, x: Tensor) -> tuple[Tensor, Tensor]:
    given, width = step.steps(x), step.operation.width
    mean, lost, count = state[:, None, :width], state[:, None, width:-1], state[:, None, -1:]
    if step.module.sequence:
        counts = torch.ones_like(given[..., :1]).cumsum(1) + count
        means = (given.cumsum(1) + (mean + lost) * count) / counts
        lost = torch.zeros_like(lost)
    else:
        counts = count + 1
        change = (given - mean) / counts + lost
        means = mean + change
        lost = change - (means - mean)
    y = means if step.operation.options["how"] == "mean" else means * counts.sqrt()
    return step.as_given(y), torch.cat([means[:, -1], lost[:, 0], counts[:, -1]], -1)


_RULES: dict[str, Callable[..., Any]] = {
    "affine": lambda step, x: F.linear(x, step.array("weight"), step.optional("bias")),
    "lookup": lambda step, token: F.embedding(token, step.array("table")),
    "pointwise": lambda step, x: _FUNCTIONS[step.operation.options["function"]](x),
    "scale": _scale,
    "add": lambda step, a, b: a + b,
    "multiply": lambda step, a, b: a * b,
    "slice": _slice,
    "concat": lambda step, *values: torch.cat(values, -1),
    "sort_pairs": _sort_pairs,
    "standardise": _standardise,
    "root_mean_square": _root_mean_square,
    "diagonal": _diagonal,
    "dense": _dense,
    "unit": _unit,
    "sum_groups": _sum_groups,
    "varying": _varying,
    "convolution": _convolution,
    "mean": _mean,
}
