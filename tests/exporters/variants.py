"""Small networks, one for each kind of part that an export must know."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch

import ssmbench as sb
from ssmbench.build.task import build_task
from ssmbench.config import typed
from ssmbench.library.configs import read_run
from ssmbench.nn.freeze import freeze
from ssmbench.nn.model import SequenceModel
from ssmbench.nn.program import program_of
from ssmbench.program import Program
from ssmbench.spec import TaskSizes

#: What the networks read and predict.
STEPS = {"name": "noise", "channels": 3, "outputs": 2, "per_step": True, "length": 16}
WHOLE = {**STEPS, "per_step": False}
TOKENS = {"name": "noise", "vocabulary": 7, "outputs": 2, "per_step": False, "length": 16}
DISCRETE = {"discretizer": None}

#: By name: the task and the options of the model.
VARIANTS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "s4d": (STEPS, {}),
    "glu and norms": (STEPS, {"nonlinearity": "glu", "norm": "layer", "final_norm": "rms"}),
    "half glu": (WHOLE, {"nonlinearity": {"name": "glu", "form": "half2"}, "readout": "after"}),
    "batch norm behind": (
        WHOLE,
        {"norm": "batch", "norm_position": "post", "residual": "convex", "pooling": "unit"},
    ),
    "l2ru": (
        WHOLE,
        DISCRETE | {"parametrization": "l2ru", "nonlinearity": "groupsort", "gamma": 5.0},
    ),
    "lru": (STEPS, DISCRETE | {"parametrization": "lru", "nonlinearity": "gelu_tanh"}),
    "contraction": (
        STEPS,
        DISCRETE | {"parametrization": "contraction", "nonlinearity": "tanh", "mix": False},
    ),
    "certified": (
        STEPS,
        DISCRETE
        | {
            "parametrization": "contraction",
            "block": {"name": "certified", "gate": False, "delay": True},
        },
    ),
    "certified with a gate": (
        WHOLE,
        DISCRETE
        | {
            "parametrization": "l2ru",
            "block": "certified",
            "encoder": {"name": "linear", "bias": False},
            "decoder": {"name": "pooled", "bias": False},
            "pooling": "last",
        },
    ),
    "selective": (
        WHOLE,
        DISCRETE
        | {
            "parametrization": {"name": "contraction_selective", "gamma": 2.0},
            "d_model": 8,
            "block": "certified",
            "encoder": {"name": "linear", "bias": False},
            "decoder": {"name": "pooled", "bias": False},
            "pooling": "unit",
        },
    ),
    "selected by the input": (
        STEPS,
        DISCRETE
        | {"parametrization": "contraction_selective", "initial_state": "learned", "d_model": 4},
    ),
    "oscillators": (STEPS, {"parametrization": "linoss", "discretizer": "bilinear"}),
    "s5 from a learned state": (
        STEPS,
        {"parametrization": "s5", "initial_state": "learned", "nonlinearity": "silu"},
    ),
    "tokens": (TOKENS, {"encoder": {"name": "embedding", "unit_norm": True}}),
    "one-hot tokens": (TOKENS, {"encoder": "one_hot", "nonlinearity": "relu"}),
    "frames": (WHOLE, {"frame": 4, "encoder": {"name": "bounded_linear", "activation": "tanh"}}),
    **{
        name: (STEPS, {"nonlinearity": name})
        for name in ("sll", "sandwich", "cayley", "saturated_glu", "identity")
    },
    **{
        f"branch {form}": (STEPS, {"nonlinearity": {"name": "residual_branch", "form": form}})
        for form in ("mlp", "glu", "tanh_glu")
    },
}


def network(name: str) -> tuple[SequenceModel, TaskSizes]:
    """A network of random parameters, frozen, and the sizes of its task."""
    task, model = VARIANTS[name]
    return network_of({"task": task, "model": {"d_model": 5, "n_layers": 2, **model}})


def network_of(config: dict[str, Any]) -> tuple[SequenceModel, TaskSizes]:
    """The network of a config, its parameters moved from their initial values."""
    s4d = {"name": "s4d", "d_state": 6}
    model = {"parametrization": s4d, "discretizer": "zoh", **config["model"]}
    given = read_run({**config, "model": model}, None)
    built = sb.network(given.config, seed=0)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(1)
        for parameter in built.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    return freeze(built), build_task(typed(given.config)).sizes


@cache
def exported(name: str) -> tuple[SequenceModel, Program]:
    """A network with its program."""
    frozen, sizes = network(name)
    return frozen, program_of(frozen, sizes)


def inputs(frozen: SequenceModel, program: Program, steps: int, batch: int = 1) -> torch.Tensor:
    """Frames for the program, (B, L, width), or tokens (B, L)."""
    generator = torch.Generator().manual_seed(2)
    if program.vocabulary is not None:
        return torch.randint(program.vocabulary, (batch, steps), generator=generator)
    return torch.randn(batch, steps, program.width, generator=generator)


def samples(frozen: SequenceModel, u: torch.Tensor) -> torch.Tensor:
    """The samples of frames."""
    frame = frozen.framing.samples
    return u if frame == 1 else u.unflatten(-1, (frame, -1)).flatten(1, 2)
