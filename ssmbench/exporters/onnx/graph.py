"""The graphs of an exported network in ONNX."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from ssmbench import jsonio
from ssmbench.errors import require
from ssmbench.program import Operation, Program, Stored

#: The operators are of this version; the container format of the one that came with it.
OPSET, IR_VERSION = 18, 8
#: The key of the metadata in a file.
METADATA = "ssmbench"


def model(program: Program, metadata: Mapping[str, Any], *, sequence: bool) -> onnx.ModelProto:
    """The step function of a network, or with ``sequence`` that of L steps.

    Inputs u and state, outputs y and state_after; the graph keeps the initial state as metadata.

    Raises:
        UsageError: an operation has no form in ONNX.
    """
    graph = _Graph(program, sequence)
    made = helper.make_model(
        graph.made(), opset_imports=[helper.make_opsetid("", OPSET)], producer_name="ssmbench"
    )
    made.ir_version = IR_VERSION
    about = {METADATA: jsonio.dumps(metadata), "signature": jsonio.dumps(program.signature())}
    about |= {"initial": jsonio.dumps(program.initial.tolist())}
    helper.set_model_props(made, about)
    onnx.checker.check_model(made)
    return made


class _Graph:
    """Nodes and constants of one function. Values are (B, width), or (B, L, width)."""

    def __init__(self, program: Program, sequence: bool):
        self.program, self.sequence = program, sequence
        self.nodes: list[onnx.NodeProto] = []
        self.constants: dict[str, onnx.TensorProto] = {}
        self._count = 0

    def made(self) -> onnx.GraphProto:
        """The graph with its inputs and outputs."""
        program, steps = self.program, ["L"] if self.sequence else []
        tokens = program.vocabulary is not None
        real, width = TensorProto.FLOAT, [] if tokens else [program.width]
        u = ("u", TensorProto.INT64 if tokens else real, ["B", *steps, *width])
        y = ("y", real, ["B", *(steps if program.per_step else []), program.outputs])
        state = (real, ["B", program.states])
        self._build()
        return helper.make_graph(
            self.nodes,
            "sequence" if self.sequence else "step",
            [helper.make_tensor_value_info(*given) for given in (u, ("state", *state))],
            [helper.make_tensor_value_info(*given) for given in (y, ("state_after", *state))],
            list(self.constants.values()),
        )

    def _build(self) -> None:
        values, after, start = ["u"], [], 0
        for operation in self.program.operations:
            known = operation.kind in _RULES
            allowed = ", ".join(_RULES)
            require(known, f"export: the operation {operation.kind} has no form in ONNX; {allowed}")
            size, inputs = len(operation.initial), [values[k] for k in operation.inputs]
            if size:
                state = self.part("state", start, start + size)
                value, kept = _RULES[operation.kind](self, operation, state, *inputs)
                after.append(kept)
            else:
                value = _RULES[operation.kind](self, operation, *inputs)
            values.append(value)
            start += size
        last = values[-1]
        if self.sequence and not self.program.per_step:
            last = self.node("Gather", last, self.integer(-1), axis=1)
        self.node("Identity", last, output="y")
        whole = self.node("Concat", *after, axis=1) if after else "state"
        self.node("Identity", whole, output="state_after")

    # --- nodes and constants ------------------------------------------------------------------

    def name(self) -> str:
        """A new name."""
        self._count += 1
        return f"n{self._count}"

    def node(self, kind: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Add a node; the result is the name of its output."""
        output = output or self.name()
        self.nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output

    def constant(self, array: Any) -> str:
        """The name of an array."""
        name = self.name()
        self.constants[name] = numpy_helper.from_array(np.asarray(array, order="C"), name)
        return name

    def number(self, value: float) -> str:
        """The name of a float32 number."""
        return self.constant(np.float32(value))

    def integer(self, value: int) -> str:
        """The name of an integer."""
        return self.constant(np.int64(value))

    def axes(self, *values: int) -> str:
        """The name of a list of integers."""
        return self.constant(np.array(values, np.int64))

    def stored(self, stored: Stored, *, transposed: bool = False) -> str:
        """The numbers of an array, which is kept in its own format."""
        change = np.transpose if transposed else np.asarray
        name = self.constant(change(stored.codes))
        if stored.codes.dtype != np.float32:
            name = self.node("Cast", name, to=TensorProto.FLOAT)
        if stored.scale is not None:
            name = self.node("Mul", name, self.constant(change(stored.scale)))
        return name

    def part(self, value: str, start: int, stop: int, step: int = 1, axis: int = -1) -> str:
        """A slice along one axis."""
        bounds = (self.axes(k) for k in (start, stop, axis, step))
        return self.node("Slice", value, *bounds)

    def shaped(self, value: str, *shape: int) -> str:
        """The value with its last axes in another shape; 0 keeps an axis."""
        return self.node("Reshape", value, self.axes(*shape))

    @property
    def lead(self) -> tuple[int, ...]:
        """Zeros for the axes of batch and steps."""
        return (0, 0) if self.sequence else (0,)


# --- operations without a state -----------------------------------------------------------------


def _affine(g: _Graph, op: Operation, x: str) -> str:
    y = g.node("MatMul", x, g.stored(op.arrays["weight"], transposed=True))
    return g.node("Add", y, g.stored(op.arrays["bias"])) if "bias" in op.arrays else y


def _lookup(g: _Graph, op: Operation, token: str) -> str:
    return g.node("Gather", g.stored(op.arrays["table"]), token, axis=0)


def _scale(g: _Graph, op: Operation, x: str) -> str:
    y = g.node("Mul", x, g.stored(op.arrays["factor"]))
    return g.node("Add", y, g.stored(op.arrays["offset"])) if "offset" in op.arrays else y


def _sort_pairs(g: _Graph, op: Operation, x: str) -> str:
    width, paired = op.width, op.width // 2 * 2
    first, second = (g.part(x, k, paired, 2) for k in (0, 1))
    ends = [g.node(kind, first, second) for kind in ("Max", "Min")]
    stacked = g.node("Concat", *(g.node("Unsqueeze", e, g.axes(-1)) for e in ends), axis=-1)
    pairs = g.shaped(stacked, *g.lead, paired)
    return pairs if paired == width else g.node("Concat", pairs, g.part(x, paired, width), axis=-1)


def _standardise(g: _Graph, op: Operation, x: str) -> str:
    mean = g.node("ReduceMean", x, g.axes(-1))
    return _root_mean_square(g, op, g.node("Sub", x, mean))


def _root_mean_square(g: _Graph, op: Operation, x: str) -> str:
    square = g.node("ReduceMean", g.node("Mul", x, x), g.axes(-1))
    root = g.node("Sqrt", g.node("Add", square, g.number(op.options["eps"])))
    return g.node("Div", x, root)


def _pointwise(g: _Graph, op: Operation, x: str) -> str:
    name = op.options["function"]
    if name in ("gelu", "gelu_tanh"):
        return _gelu(g, x, name == "gelu_tanh")
    if name == "silu":
        return g.node("Mul", x, g.node("Sigmoid", x))
    return g.node(name.capitalize(), x)


def _gelu(g: _Graph, x: str, by_tanh: bool) -> str:
    if by_tanh:
        cube = g.node("Mul", g.node("Mul", x, x), x)
        inner = g.node("Add", x, g.node("Mul", cube, g.number(0.044715)))
        shape = g.node("Tanh", g.node("Mul", inner, g.number((2 / np.pi) ** 0.5)))
    else:
        shape = g.node("Erf", g.node("Mul", x, g.number(0.5**0.5)))
    half = g.node("Mul", x, g.number(0.5))
    return g.node("Mul", half, g.node("Add", shape, g.number(1.0)))


def _slice(g: _Graph, op: Operation, x: str) -> str:
    return g.part(x, op.options["start"], op.options["stop"], op.options["step"])


# --- operations with a state ----------------------------------------------------------------------


def _diagonal(g: _Graph, op: Operation, state: str, u: str) -> tuple[str, str]:
    """Modes as (B, parts, H, N), where the parts are real and imaginary."""
    w = op.arrays
    heads, states = w["lam_re"].codes.shape
    names = [k for k in ("re", "im") if f"lam_{k}" in w]
    columns = _columns(g, op, u)
    drives = [_drive(g, w[f"B_{k}"], columns) for k in names]
    drive = g.node("Concat", *drives, axis=-3)  # (.., parts, H, N)
    factors = [g.stored(w[f"lam_{k}"]) for k in names]

    def advance(inner: _Graph, s: str) -> str:
        if len(names) == 1:
            return inner.node("Mul", s, factors[0])
        re, im = (inner.part(s, k, k + 1, axis=1) for k in (0, 1))
        return inner.node("Concat", *_rotated(inner, factors, re, im), axis=1)

    start = g.shaped(state, 0, len(names), heads, states)
    before, final = _recur(g, start, drive, advance)
    parts = [g.part(before, k, k + 1, axis=-3) for k in range(len(names))]
    outputs = [_read(g, w[f"C_{k}"], part) for k, part in zip(names, parts, strict=True)]
    y = outputs[0] if len(outputs) == 1 else g.node("Sub", *outputs)
    return _with_direct(g, op, y, columns), g.shaped(final, 0, -1)


def _rotated(g: _Graph, factors: list[str], re: str, im: str) -> tuple[str, str]:
    """lam s, by its real and imaginary parts."""
    a, b = factors
    real = g.node("Sub", g.node("Mul", a, re), g.node("Mul", b, im))
    return real, g.node("Add", g.node("Mul", a, im), g.node("Mul", b, re))


def _dense(g: _Graph, op: Operation, state: str, u: str) -> tuple[str, str]:
    """States as (B, 1, H, N)."""
    w = op.arrays
    heads, states = w["A"].codes.shape[:2]
    columns, A = _columns(g, op, u), g.stored(w["A"])

    def advance(inner: _Graph, s: str) -> str:
        column = inner.node("Unsqueeze", s, inner.axes(-1))
        return inner.node("Squeeze", inner.node("MatMul", A, column), inner.axes(-1))

    start = g.shaped(state, 0, 1, heads, states)
    before, final = _recur(g, start, _drive(g, w["B"], columns), advance)
    return _with_direct(g, op, _read(g, w["C"], before), columns), g.shaped(final, 0, -1)


def _columns(g: _Graph, op: Operation, u: str) -> str:
    """u of each head as a column, (.., 1, H, m, 1)."""
    heads, _, inputs = op.arrays["D"].codes.shape
    return g.shaped(u, *g.lead, 1, heads, inputs, 1)


def _drive(g: _Graph, B: Stored, columns: str) -> str:
    """B u, (.., 1, H, N)."""
    return g.node("Squeeze", g.node("MatMul", g.stored(B), columns), g.axes(-1))


def _read(g: _Graph, C: Stored, states: str) -> str:
    """C x, (.., 1, H, p, 1)."""
    return g.node("MatMul", g.stored(C), g.node("Unsqueeze", states, g.axes(-1)))


def _with_direct(g: _Graph, op: Operation, y: str, columns: str) -> str:
    direct = g.node("MatMul", g.stored(op.arrays["D"]), columns)
    return g.shaped(g.node("Add", y, direct), *g.lead, op.width)


def _recur(
    g: _Graph, start: str, drive: str, advance: Callable[..., str], *varying: str
) -> tuple[str, str]:
    """The state before each step, and after the last, of s <- advance(s) + drive; ``varying``:
    further arguments of advance, for every step."""
    if not g.sequence:
        return start, g.node("Add", advance(g, start, *varying), drive)
    names = ["state_in", "drive_in", *(f"varying_{k}" for k in range(len(varying)))]
    body = _Graph(g.program, sequence=False)
    body._count = g._count + 10_000  # names differ from those outside
    after = body.node("Add", advance(body, "state_in", *names[2:]), "drive_in")
    before = body.node("Identity", "state_in")
    untyped = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in names]
    out = [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in (after, before)]
    graph = helper.make_graph(body.nodes, "body", untyped, out, list(body.constants.values()))
    g._count = body._count
    final, states = g.name(), g.name()
    steps = [drive, *varying]
    scan: dict[str, Any] = {"num_scan_inputs": len(steps), "scan_input_axes": [1] * len(steps)}
    scan["scan_output_axes"] = [1]
    g.nodes.append(helper.make_node("Scan", [start, *steps], [final, states], body=graph, **scan))
    return states, final


def _unit(g: _Graph, op: Operation, x: str) -> str:
    v = g.shaped(x, *g.lead, -1, op.options["size"])
    norm = g.node("Sqrt", g.node("ReduceSum", g.node("Mul", v, v), g.axes(-1)))
    return g.shaped(g.node("Div", v, g.node("Add", norm, g.number(1e-6))), *g.lead, op.width)


def _sum_groups(g: _Graph, op: Operation, x: str) -> str:
    v = g.shaped(x, *g.lead, op.width, op.options["size"])
    return g.node("ReduceSum", v, g.axes(-1), keepdims=0)


def _varying(g: _Graph, op: Operation, state: str, x: str, *selected: str) -> tuple[str, str]:
    """States as (B, G, P, N), for G groups of P channels."""
    groups, lead = op.options["groups"], g.lead
    channels = op.width // groups
    states = len(op.initial) // op.width
    u = g.shaped(x, *lead, groups, channels, 1)
    lam, B, C = (g.shaped(m, *lead, groups, 1, states) for m in selected[:3])
    start = g.shaped(state, 0, groups, channels, states)
    drive = g.node("Mul", B, u)
    before, final = _recur(g, start, drive, lambda inner, s, now: inner.node("Mul", now, s), lam)
    through = g.node("ReduceSum", g.node("Mul", C, before), g.axes(-1))
    direct = g.node("Mul", g.shaped(selected[3], *lead, groups, 1, 1), u)
    return g.shaped(g.node("Add", through, direct), *lead, op.width), g.shaped(final, 0, -1)


def _convolution(g: _Graph, op: Operation, state: str, x: str) -> tuple[str, str]:
    weight = op.arrays["weight"].value
    width, kernel = weight.shape
    steps = x if g.sequence else g.node("Unsqueeze", x, g.axes(1))
    extended = steps
    if kernel > 1:
        before = g.shaped(state, 0, kernel - 1, width)
        extended = g.node("Concat", before, steps, axis=1)
    y = g.node(
        "Conv",
        g.node("Transpose", extended, perm=[0, 2, 1]),
        g.constant(weight[:, None]),
        *([g.stored(op.arrays["bias"])] if "bias" in op.arrays else []),
        group=width,
    )
    y = g.node("Transpose", y, perm=[0, 2, 1])
    kept = g.part(extended, 1 - kernel, 1 << 40, axis=1)
    return y if g.sequence else g.node("Squeeze", y, g.axes(1)), g.shaped(kept, 0, -1)


def _mean(g: _Graph, op: Operation, state: str, x: str) -> tuple[str, str]:
    """The sum of steps divided by their number, from the mean, what rounding has lost of it, and
    the number before."""
    width = op.width
    mean, lost, count = (g.part(state, k * width, (k + 1) * width) for k in (0, 1, 2))
    one = g.number(1.0)
    if not g.sequence:
        count = g.node("Add", count, one)
        change = g.node("Add", g.node("Div", g.node("Sub", x, mean), count), lost)
        means, counts, total = g.node("Add", mean, change), count, count
        last, rest = means, g.node("Sub", change, g.node("Sub", means, mean))
    else:
        ones = g.node("Add", g.node("Mul", g.part(x, 0, 1), g.number(0.0)), one)
        before = g.node("Mul", g.node("Add", mean, lost), count)
        before, rest = g.node("Unsqueeze", before, g.axes(1)), g.node("Mul", lost, g.number(0.0))
        number = g.node("Unsqueeze", count, g.axes(1))
        axis = g.integer(1)
        counts = g.node("Add", g.node("CumSum", ones, axis), number)
        means = g.node("Div", g.node("Add", g.node("CumSum", x, axis), before), counts)
        last, total = (g.node("Gather", v, g.integer(-1), axis=1) for v in (means, counts))
    y = means if op.options["how"] == "mean" else g.node("Mul", means, g.node("Sqrt", counts))
    return y, g.node("Concat", last, rest, total, axis=-1)


_RULES: dict[str, Callable[..., Any]] = {
    "affine": _affine,
    "lookup": _lookup,
    "pointwise": _pointwise,
    "scale": _scale,
    "add": lambda g, op, a, b: g.node("Add", a, b),
    "multiply": lambda g, op, a, b: g.node("Mul", a, b),
    "slice": _slice,
    "concat": lambda g, op, *values: g.node("Concat", *values, axis=-1),
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
