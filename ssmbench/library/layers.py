"""Layers and networks from names and options."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from typing import Any

import torch

from ssmbench.build.network import build_layer, build_network
from ssmbench.config import RunConfig, resolve_model, typed
from ssmbench.errors import require
from ssmbench.library.configs import Config, Overrides, read_run
from ssmbench.nn.layer import SSMLayer
from ssmbench.nn.model import SequenceModel
from ssmbench.options import SEED

#: A registered name, or a mapping of ``name`` and options.
Component = str | Mapping[str, Any]


def layer(
    parametrization: str,
    *,
    d_model: int,
    discretizer: Component | None = None,
    normaliser: Component | None = None,
    scan: Component = "auto",
    initial_state: str = "zero",
    readout: str = "before",
    seed: int | None = None,
    **options: Any,
) -> SSMLayer:
    """A new SSM layer that maps u (B, L, d_model) to y (B, L, d_model), with initial parameters.

    >>> import ssmbench as sb
    >>> layer = sb.layer("s4d", discretizer="zoh", d_model=4, d_state=8, seed=0)
    >>> layer.system().lam.shape
    torch.Size([4, 4])

    Args:
        parametrization: a registered name; see ``list("parametrizations")``.
        d_model: channels of the input and of the output.
        discretizer: required by a parametrization in continuous time, refused by the others.
        normaliser: prescribes the gain of the discrete system.
        scan: the backend that computes y; "auto" chooses one for the device and the system.
        initial_state: "zero" or "learned".
        readout: the state that outputs read, "before" or "after" the input of their step.
        seed: seed of the parameters; None draws them from torch's global generator.
        options: options of the parametrization; see ``show("parametrization", name)``.

    Raises:
        UsageError: a name or option is unknown, a value is not allowed, or the components do not
            fit together.
    """
    require("name" not in options, f"layer: name: is given already, as {parametrization!r}")
    model = {
        "d_model": d_model,
        "parametrization": {"name": parametrization, **options},
        "discretizer": discretizer,
        "normaliser": normaliser,
        "scan": scan,
        "initial_state": initial_state,
        "readout": readout,
    }
    config = RunConfig(model=resolve_model(model, "layer"))
    with _seeded(seed):
        return build_layer(config)


def network(
    config: Config, overrides: Overrides = None, *, seed: int | None = None
) -> SequenceModel:
    """The network of a run before training.

    >>> import ssmbench as sb
    >>> sb.network("digits_s4d", {"model.n_layers": 1}).parameter_count()
    2538

    Args:
        config: as for :func:`ssmbench.train`.
        overrides: as for :func:`ssmbench.train`.
        seed: seed of the parameters; None for the config's.

    Raises:
        UsageError: the config or an override is invalid.
    """
    from ssmbench.build.task import build_task  # imports Lightning, which layers do not need

    run = typed(read_run(config, overrides).config)
    sizes = build_task(run).sizes
    with _seeded(run.seed if seed is None else seed):
        return build_network(run, sizes)


@contextlib.contextmanager
def _seeded(seed: int | None) -> Iterator[None]:
    """Seed torch's global generator within, and restore it afterwards; None changes nothing."""
    if seed is None:
        yield
        return
    allowed = type(seed) is int and SEED.test(seed)
    require(allowed, f"seed: {SEED.problem(repr(seed))}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        yield
