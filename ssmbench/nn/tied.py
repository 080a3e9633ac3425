"""Two SSM layers that share all but their outputs: one A, one B and one step size, two C, as for
both directions of time in the published code of S4, S4D and S5."""

from __future__ import annotations

import torch

from ssmbench.errors import require
from ssmbench.parametrizations.base import Parametrization

_NOT_APART = "its C is not parametrized apart from them"


def tie(second: Parametrization, first: Parametrization) -> None:
    """Let ``second`` use the parameters of ``first``, but for those of its own C; its D is zero.

    Both are built from the same config. Gains: each layer is a system of its own, whose gain is
    verified as that of any other, and the sum of two maps has at most the sum of their gains. A
    gain that follows from how all matrices together are parametrized does not survive another C,
    so parametrizations that declare one are refused; the gain that a normaliser prescribes for each
    of the layers' systems holds as always.

    Raises:
        UsageError: C is not parametrized apart from A and B, or a gain is declared.
    """
    name = type(first).__name__
    require(
        bool(first.output_parameters) and first.declared_gain() is None,
        f"model.tied: {name} cannot share A and B between two layers: "
        + ("its gain bound holds for its own C only" if first.output_parameters else _NOT_APART),
    )
    for path, parameter in list(first.named_parameters()):
        place, _, key = path.rpartition(".")
        module = second.get_submodule(place)
        if path in first.direct_parameters:
            delattr(module, key)
            module.register_buffer(key, torch.zeros_like(parameter), persistent=False)
        elif path not in first.output_parameters:
            setattr(module, key, parameter)
