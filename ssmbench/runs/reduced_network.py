"""A trained network with other systems in its SSM layers, as a config and weights of its own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from ssmbench.build.stored import stored_options
from ssmbench.config import resolve
from ssmbench.errors import require
from ssmbench.nn.layer import SSMLayer
from ssmbench.nn.linear import BoundedLinear, effective_weight
from ssmbench.nn.model import SequenceModel
from ssmbench.nn.stored_systems import StoredSystems


def stored_config(
    config: Mapping[str, Any], model: SequenceModel, stored: StoredSystems
) -> dict[str, Any]:
    """The config of a run whose layers hold these systems; all else is as in ``config``.

    A prescribed gain is no longer prescribed, and the training that goes on truncates no further.

    Raises:
        UsageError: the layers have different numbers of heads.
    """
    changed = {**config["model"], **stored_options(stored.shape(model))}
    if changed["encoder"] is None and any(isinstance(m, BoundedLinear) for m in [model.encoder]):
        changed["encoder"] = {"name": "linear"}
    given = {key: value for key, value in config.items() if key not in ("sources", "truncation")}
    return resolve({**given, "model": changed}, "reduce")


def stored_weights(
    old: SequenceModel, new: SequenceModel, stored: StoredSystems
) -> dict[str, Tensor]:
    """All weights of the network ``new`` of :func:`stored_config`."""
    found = {name: value for name, value in old.state_dict().items() if name in new.state_dict()}
    for name, module in old.named_modules(remove_duplicate=False):
        if isinstance(module, BoundedLinear) and not isinstance(
            new.get_submodule(name), BoundedLinear
        ):
            found[f"{name}.weight"] = effective_weight(module)
    rows = old.decoder_matrix()
    if old.gamma is not None:
        require(rows is not None, "the decoder's gain is prescribed, and it is not affine")
        assert rows is not None
        found["decoder.weight"] = rows
    for name, layer in _layers(old):
        for key, value in stored.parameters(layer).items():
            found[f"{name}.parametrization.{key}"] = value
    return {name: value.detach().clone() for name, value in found.items()}


def _layers(model: SequenceModel) -> Iterator[tuple[str, SSMLayer]]:
    for name, module in model.named_modules(remove_duplicate=False):
        if isinstance(module, SSMLayer):
            yield name, module
