"""SSM layers in the plain operations of an exported network."""

from __future__ import annotations

import torch

from ssmbench.errors import UsageError, require
from ssmbench.nn.layer import SSMLayer
from ssmbench.program import Builder
from ssmbench.systems import DiscreteDiagonal, DiscreteLTI, Readout


def lower_layer(to: Builder, layer: SSMLayer, x: int, selection: int | None = None) -> int:
    """Add a layer's present system, with its initial state; the result is its output.

    ``selection``: the value that selects the matrices of a time-varying layer; None for x.

    Raises:
        UsageError: the layer is time-varying and has no form in plain operations, or its outputs
            are complex.
    """
    if layer.time_varying:
        return _lower_varying(to, layer, x, x if selection is None else selection)
    system = layer.system()
    start = layer.start(1, system, None)
    return lower_system(to, system, x, None if start is None else start[0])


def _lower_varying(to: Builder, layer: SSMLayer, x: int, selection: int) -> int:
    parametrization, name = layer.parametrization, type(layer.parametrization).__name__
    selected = parametrization.lower(to, selection)
    allowed = "time-invariant layers, and contraction_selective without a ball, read before input"
    if selected is None or layer.readout is Readout.after:
        raise UsageError(
            f"export: the SSM layer {name} is time-varying, and has no form in plain operations; "
            f"allowed: {allowed}"
        )
    like = next(layer.parameters())
    system = layer.idle_system(like)
    start = layer.start(1, system, None)
    initial = like.new_zeros(system.heads, system.states) if start is None else start[0]
    *values, D = selected
    return to.varying(x, (*values, D), initial, to.width(D), layer.declared_gain())


def lower_system(to: Builder, system: DiscreteLTI, x: int, start: torch.Tensor | None) -> int:
    """Add a system; ``start`` (H, N): its initial state, zero where None."""
    width = system.heads * system.outputs
    if system.states == 0:
        return to.affine(x, torch.block_diag(*system.D))
    if isinstance(system, DiscreteDiagonal):
        arrays, real = _modes(system), not system.state_dtype.is_complex
        initial = torch.zeros(system.heads, system.states) if start is None else start
        parts = initial[None] if real else torch.view_as_real(initial + 0j).movedim(-1, 0)
        return to.add_operation("diagonal", (x,), width, arrays, parts)
    require(system.is_real(), "export: the outputs of an SSM layer are complex numbers")
    arrays = {"A": system.A, "B": system.B, "C": system.C, "D": system.D}
    initial = torch.zeros(system.heads, system.states) if start is None else start
    return to.add_operation("dense", (x,), width, arrays, initial)


def _modes(system: DiscreteDiagonal) -> dict[str, torch.Tensor]:
    """Real and imaginary parts of the matrices; outputs are Re(C x) + D u."""
    real_outputs = system.conjugate or system.is_real()
    require(real_outputs, "export: the outputs of an SSM layer are complex numbers")
    C = 2 * system.C if system.conjugate else system.C
    named = {"lam": system.lam, "B": system.B, "C": C}
    if not system.state_dtype.is_complex:
        return {f"{name}_re": matrix for name, matrix in named.items()} | {"D": system.D}
    arrays = {"D": system.D}
    for name, matrix in named.items():
        whole = matrix + 0j
        arrays[f"{name}_re"], arrays[f"{name}_im"] = whole.real, whole.imag
    return arrays
