"""The reference implementation of an exported network, in NumPy alone.

This file needs nothing else of ssmbench: copy it to wherever an exported ``.npz`` is to run.

    network = Network.load("network.npz")
    state = network.initial(batch=1)
    y, state = network.step(u, state)             # u (1, width), or (1,) of tokens
    y, state = network.sequence(u, state)         # u (1, L, width), or (1, L)
"""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np

#: erf of each number; NumPy has none.
_erf = np.vectorize(math.erf, otypes=[np.float64])


def _sigmoid(x: np.ndarray) -> np.ndarray:
    return 0.5 * (1.0 + np.tanh(0.5 * x))


_FUNCTIONS = {
    "cos": np.cos,
    "sin": np.sin,
    "gelu": lambda x: x * (0.5 * (1.0 + _erf(x * math.sqrt(0.5)))).astype(x.dtype),
    "gelu_tanh": lambda x: (
        0.5 * x * (1.0 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))
    ),
    "relu": lambda x: np.maximum(x, 0.0),
    "sigmoid": _sigmoid,
    "silu": lambda x: x * _sigmoid(x),
    "tanh": np.tanh,
}


def check_inputs(about: dict[str, Any], u: np.ndarray, state: np.ndarray, *, steps: bool) -> None:
    """Refuse inputs and states that are not those of the network with this description; ``steps``:
    u has an axis of steps.

    Raises:
        ValueError: their shape, or a token outside the vocabulary.
    """
    tokens = about["vocabulary"] is not None
    wanted = ("batch", *(["steps"] if steps else []), *([] if tokens else [about["width"]]))
    found = zip(u.shape, wanted, strict=False)
    if u.ndim != len(wanted) or any(n != w for n, w in found if w not in ("batch", "steps")):
        raise ValueError(f"u has the shape {u.shape}; allowed: ({', '.join(map(str, wanted))})")
    if 0 in u.shape:
        raise ValueError(f"u has the shape {u.shape}; allowed: at least one sequence and one step")
    if state.shape != (len(u), about["states"]):
        allowed = (len(u), about["states"])
        raise ValueError(f"the state has the shape {state.shape}; allowed: {allowed}")
    if tokens:
        _check_tokens(u, about["vocabulary"])


def _check_tokens(u: np.ndarray, vocabulary: int) -> None:
    if not np.issubdtype(u.dtype, np.integer):
        raise ValueError(f"tokens of the type {u.dtype}; allowed: integers")
    wrong = u[(u < 0) | (u >= vocabulary)]
    if wrong.size:
        raise ValueError(
            f"the token {wrong[0]} is outside the vocabulary; allowed: 0 to {vocabulary - 1}"
        )


class Network:
    """An exported network: ``description`` as its JSON, ``arrays`` by ``operation.name``.

    It computes in ``dtype``, whatever the arrays are stored in.
    """

    def __init__(self, description: dict[str, Any], arrays: dict[str, np.ndarray], dtype: Any):
        self.description = description
        self.metadata = description.get("metadata", {})
        self.dtype = np.dtype(dtype)
        self._initial = arrays["initial"].astype(self.dtype)
        self._arrays: list[dict[str, np.ndarray]] = [{} for _ in description["operations"]]
        for key, codes in arrays.items():
            index, _, name = key.partition(".")
            if name and not name.endswith(".scale"):
                value = codes.astype(np.float32) * arrays.get(f"{key}.scale", np.float32(1))
                self._arrays[int(index)][name] = value.astype(self.dtype)

    @classmethod
    def load(cls, path: Any, dtype: Any = np.float32) -> Network:
        """The network of an exported .npz file."""
        with np.load(path, allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
        return cls(json.loads(str(arrays.pop("description"))), arrays, dtype)

    def initial(self, batch: int = 1) -> np.ndarray:
        """The state before the first step, (batch, states)."""
        return np.tile(self._initial, (batch, 1))

    def step(self, u: np.ndarray, state: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The prediction (B, outputs) for one step, (B, width) or (B,) of tokens."""
        check_inputs(self.description, u, state, steps=False)
        y, state = self.sequence(u[:, None], state)
        return (y[:, 0] if self.description["per_step"] else y), state

    def sequence(
        self, u: np.ndarray, state: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """The predictions (B, L, outputs), or (B, outputs) for a network that predicts of a whole
        sequence, for L more steps; and the state after them."""
        state = self.initial(len(u)) if state is None else state
        check_inputs(self.description, u, state, steps=True)
        tokens = self.description["vocabulary"] is not None
        values = [u if tokens else u.astype(self.dtype)]
        after, place = [], 0
        for operation, arrays in zip(self.description["operations"], self._arrays, strict=True):
            size = operation["states"]
            run = getattr(self, "_" + operation["kind"])
            inputs = [values[index] for index in operation["inputs"]]
            if size:
                y, kept = run(operation, arrays, state[:, place : place + size], *inputs)
                after.append(kept)
            else:
                y = run(operation, arrays, *inputs)
            values.append(y)
            place += size
        y = values[-1] if self.description["per_step"] else values[-1][:, -1]
        return y, np.concatenate([state[:, :0], *after], 1).astype(self.dtype)

    # --- operations without a state -------------------------------------------------------------

    def _affine(self, about: dict, w: dict, x: np.ndarray) -> np.ndarray:
        y = x @ w["weight"].T
        return y + w["bias"] if "bias" in w else y

    def _lookup(self, about: dict, w: dict, token: np.ndarray) -> np.ndarray:
        return w["table"][token]

    def _pointwise(self, about: dict, w: dict, x: np.ndarray) -> np.ndarray:
        return _FUNCTIONS[about["function"]](x)

    def _scale(self, about: dict, w: dict, x: np.ndarray) -> np.ndarray:
        y = x * w["factor"]
        return y + w["offset"] if "offset" in w else y

    def _add(self, about: dict, w: dict, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return a + b

    def _multiply(self, about: dict, w: dict, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        return a * b

    def _slice(self, about: dict, w: dict, x: np.ndarray) -> np.ndarray:
        return x[..., about["start"] : about["stop"] : about["step"]]

    def _concat(self, about: dict, w: dict, *values: np.ndarray) -> np.ndarray:
        return np.concatenate(values, -1)

    def _sort_pairs(self, about: dict, w: dict, x: np.ndarray) -> np.ndarray:
        y, paired = x.copy(), x.shape[-1] // 2 * 2
        first, second = x[..., :paired:2], x[..., 1:paired:2]
        y[..., :paired:2] = np.maximum(first, second)
        y[..., 1:paired:2] = np.minimum(first, second)
        return y

    def _standardise(self, about: dict, w: dict, x: np.ndarray) -> np.ndarray:
        x = x - x.mean(-1, keepdims=True)
        return self._root_mean_square(about, w, x)

    def _root_mean_square(self, about: dict, w: dict, x: np.ndarray) -> np.ndarray:
        square = (x * x).mean(-1, keepdims=True)
        return x / np.sqrt(square + self.dtype.type(about["eps"]))

    def _unit(self, about: dict, w: dict, x: np.ndarray) -> np.ndarray:
        v = x.reshape(*x.shape[:-1], -1, about["size"])
        norm = np.sqrt((v * v).sum(-1, keepdims=True))
        return (v / (norm + self.dtype.type(1e-6))).reshape(x.shape)

    def _sum_groups(self, about: dict, w: dict, x: np.ndarray) -> np.ndarray:
        return x.reshape(*x.shape[:-1], -1, about["size"]).sum(-1)

    # --- operations with a state ----------------------------------------------------------------

    def _diagonal(
        self, about: dict, w: dict, state: np.ndarray, x: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """x[k+1] = lam x[k] + B u[k], y[k] = Re(C x[k]) + D u[k], for each head."""
        lam, B, C = (_complex(w, name) for name in ("lam", "B", "C"))
        s = state.reshape(len(state), -1, *lam.shape)
        s = s[:, 0] + 1j * s[:, 1] if np.iscomplexobj(lam) else s[:, 0]
        return self._recur(lambda s: lam * s, (B, C, w["D"]), s, x)

    def _dense(
        self, about: dict, w: dict, state: np.ndarray, x: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """x[k+1] = A x[k] + B u[k], y[k] = C x[k] + D u[k], for each head."""
        A = w["A"]
        s = state.reshape(len(state), *A.shape[:2])
        return self._recur(lambda s: (A @ s[..., None])[..., 0], (w["B"], w["C"], w["D"]), s, x)

    def _recur(
        self, advance: Any, matrices: tuple[np.ndarray, ...], state: np.ndarray, x: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        B, C, D = matrices
        u = x.reshape(*x.shape[:2], len(D), -1, 1)
        drive, before = (B @ u)[..., 0], []
        for k in range(x.shape[1]):
            before.append(state)
            state = advance(state) + drive[:, k]
        y = np.real(C @ np.stack(before, 1)[..., None]) + D @ u
        parts = (np.real(state), np.imag(state)) if np.iscomplexobj(state) else (state,)
        final = np.concatenate([part.reshape(len(part), -1) for part in parts], 1)
        return y.reshape(*x.shape[:2], -1), final

    def _varying(
        self, about: dict, w: dict, state: np.ndarray, x: np.ndarray, *selected: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """s <- lam s + B u, y = C s + D u of each channel; those of a group share the matrices."""
        groups, shape = about["groups"], x.shape
        u = x.reshape(*shape[:2], groups, -1)  # (B, L, G, P)
        lam, B, C = (m.reshape(*shape[:2], groups, 1, -1) for m in selected[:3])
        s, outputs = state.reshape(len(x), groups, u.shape[-1], -1), []
        for k in range(shape[1]):
            outputs.append((C[:, k] * s).sum(-1))
            s = lam[:, k] * s + B[:, k] * u[:, k, ..., None]
        y = np.stack(outputs, 1) + selected[3][..., None] * u
        return y.reshape(shape), s.reshape(len(x), -1)

    def _convolution(
        self, about: dict, w: dict, state: np.ndarray, x: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """y[t] = sum_j weight[:, j] x[t - (kernel - 1) + j] + bias."""
        weight, steps = w["weight"], x.shape[1]
        extended = np.concatenate([state.reshape(len(x), -1, x.shape[-1]), x], 1)
        y = np.zeros_like(x)
        for j in range(weight.shape[1]):
            y = y + weight[:, j] * extended[:, j : j + steps]
        kept = extended[:, steps:].reshape(len(x), -1)
        return (y + w["bias"] if "bias" in w else y), kept

    def _mean(
        self, about: dict, w: dict, state: np.ndarray, x: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray]:
        """The mean so far, what rounding has lost of it (Kahan 1965), and the number of steps."""
        width, means, counts = x.shape[-1], [], []
        mean, lost, count = state[:, :width], state[:, width:-1], state[:, -1:]
        for k in range(x.shape[1]):
            count = count + 1
            change = (x[:, k] - mean) / count + lost
            after = mean + change
            mean, lost = after, change - (after - mean)
            means.append(mean)
            counts.append(count)
        y = np.stack(means, 1)
        if about["how"] == "unit":
            y = y * np.sqrt(np.stack(counts, 1))
        return y, np.concatenate([mean, lost, count], 1)


def _complex(w: dict[str, np.ndarray], name: str) -> np.ndarray:
    real, imaginary = w[f"{name}_re"], w.get(f"{name}_im")
    return real if imaginary is None else real + 1j * imaginary
