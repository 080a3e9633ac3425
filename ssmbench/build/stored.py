"""The config of a network whose layers hold their systems as matrices."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from ssmbench.config import RunConfig, resolve_model
from ssmbench.nn.stored_systems import StoredForm

#: What a network of stored systems has of its own, in place of the options of the trained one.
_OWN = ("readout", "reverse_readout", "tied", "gamma", "gamma_by")


def stored_options(shape: StoredForm) -> dict[str, Any]:
    """The options of ``model`` that such a network has in place of others.

    A prescribed gain is no longer prescribed: matrices that are free keep none.
    """
    defaults = resolve_model({})
    parametrization = {
        "name": "discrete_matrices",
        "d_state": max(shape.states),
        "heads": shape.heads,
        "form": shape.form,
    }
    return {
        **{key: getattr(defaults, key) for key in _OWN},
        "discretizer": None,
        "normaliser": None,
        "parametrization": parametrization,
        "layer_states": list(shape.states),
        "scan": {"name": "auto"},
    }


def with_stored_layers(config: RunConfig, shape: StoredForm) -> RunConfig:
    """The config of a run whose layers hold systems of this shape; all else is as before."""
    return replace(config, model=replace(config.model, **stored_options(shape)))
