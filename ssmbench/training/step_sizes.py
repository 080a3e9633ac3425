"""Before training: is a discretizer about to make stable layers unstable?"""

from __future__ import annotations

import torch

from ssmbench.analysis.stability_region import Instability, instability
from ssmbench.nn.model import SequenceModel
from ssmbench.systems import ContinuousSystem


def step_size_warning(model: SequenceModel, discretizer: str) -> str | None:
    """One line about the layers whose stable poles ``discretizer`` makes unstable, if any.

    It gives the worst head's step size and the largest stable one. Nothing is said of time-varying
    layers: their step sizes follow from inputs that are yet to come.
    """
    found: dict[int, Instability] = {}
    with torch.no_grad():
        for index, layer in enumerate(model.layers):
            if layer.discretizer is None or layer.time_varying:
                continue
            layer.system()  # refuses what is no system, with the line of its author
            system = layer.parametrization()
            here = None
            if isinstance(system, ContinuousSystem) and system.is_finite():
                here = instability(layer.discretizer, system)
            if here is not None:
                found[index] = here
    if not found:
        return None
    worst = min(found.values(), key=lambda x: x.largest_stable_step / x.dt)
    layers = ", ".join(map(str, found))
    return f"{discretizer} in layer{'s' * (len(found) > 1)} {layers}: {worst.sentence}"
