"""Build the encoder and the decoder of a network, with defaults that depend on the task.

Default encoder: ``embedding`` for tokens; for channels ``linear``, or ``bounded_linear`` if
``model.gamma`` is set. Default decoder: ``pair`` for pairs of sequences, ``per_step`` for
predictions per step, and ``pooled`` for predictions per sequence.
"""

from __future__ import annotations

from collections.abc import Sequence

from ssmbench import registry
from ssmbench.build.component import build_component
from ssmbench.config import RunConfig
from ssmbench.errors import require
from ssmbench.nn.decoders.base import Decoder
from ssmbench.nn.encoders.base import Encoder
from ssmbench.nn.pooling import Pooling
from ssmbench.spec import Reading, SequenceSpec, TaskSizes, Tokens

_DEFAULT_DECODERS = {Reading.steps: "per_step", Reading.sequence: "pooled", Reading.pair: "pair"}


def build_encoder(config: RunConfig, sizes: TaskSizes) -> Encoder:
    """The encoder of a run, its parameters drawn from torch's global generator.

    Raises:
        UsageError: ``model.encoder`` does not accept the task's input.
    """
    model, kind, input = config.model, registry.encoders, sizes.sequence
    component = model.encoder or {"name": _encoder_for(input, model.gamma)}
    _check_choice(
        "model.encoder",
        component["name"],
        f"take {input}, this task's input",
        [entry.name for entry in kind if isinstance(input, entry.factory.accepts)],
    )
    return build_component(
        kind, component, Encoder, input=input, length=sizes.length, d_model=model.d_model
    )


def build_decoder(config: RunConfig, sizes: TaskSizes, pooling: Pooling) -> Decoder:
    """The decoder of a run, its parameters drawn from torch's global generator.

    Raises:
        UsageError: ``model.decoder`` does not make predictions of the task's kind.
    """
    model, kind = config.model, registry.decoders
    component = model.decoder or {"name": _DEFAULT_DECODERS[sizes.reading]}
    _check_choice(
        "model.decoder",
        component["name"],
        f"make a prediction from {sizes.reading.value}, as this task needs it",
        [entry.name for entry in kind if entry.factory.reads is sizes.reading],
    )
    return build_component(
        kind, component, Decoder, sizes=sizes, d_model=model.d_model, pooling=pooling
    )


def _encoder_for(input: SequenceSpec, gamma: float | None) -> str:
    if isinstance(input, Tokens):
        return "embedding"
    return "linear" if gamma is None else "bounded_linear"


def _check_choice(where: str, name: str, needed: str, suitable: Sequence[str]) -> None:
    choices = ", ".join(suitable)
    require(name in suitable, f"{where}: {name!r} does not {needed}; choose {choices} or null")
