"""A warning before training, if a discretizer makes stable layers unstable."""

from __future__ import annotations

import torch

from ssmbench.analysis.stability_region import Instability, instability
from ssmbench.nn.model import SequenceModel
from ssmbench.systems import ContinuousSystem


def step_size_warning(model: SequenceModel, discretizer: str) -> str | None:
    """One line on the layers whose stable poles ``discretizer`` makes unstable; None if none are.

    It gives the step size of the worst head, and the largest stable one. Time-varying layers are
    left out, because their step sizes depend on the input.
    """
    found: dict[int, Instability] = {}
    with torch.no_grad():
        for index, layer in enumerate(model.layers):
            if layer.discretizer is None or layer.time_varying:
                continue
            layer.system()  # raises an error if a plugin returns no valid system
            system = layer.parametrization()
            unstable = None
            if isinstance(system, ContinuousSystem) and system.is_finite():
                unstable = instability(layer.discretizer, system)
            if unstable is not None:
                found[index] = unstable
    if not found:
        return None
    worst = min(found.values(), key=lambda x: x.largest_stable_step / x.dt)
    layers = ", ".join(map(str, found))
    return f"{discretizer} in layer{'s' * (len(found) > 1)} {layers}: {worst.sentence}"
