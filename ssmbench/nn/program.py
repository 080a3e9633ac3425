"""A frozen network in plain operations, for exports."""

from __future__ import annotations

import torch

from ssmbench.errors import UsageError, require
from ssmbench.nn.model import SequenceModel
from ssmbench.program import Builder, Program
from ssmbench.spec import Channels, Reading, TaskSizes, Tokens


@torch.no_grad()
def program_of(frozen: SequenceModel, sizes: TaskSizes) -> Program:
    """The network as it streams, one frame of ``model.frame`` samples a step; ``sizes`` are those
    of its task.

    Raises:
        UsageError: it cannot be streamed, or a part has no form in plain operations; one line that
            names the part.
    """
    require(
        not frozen.bidirectional,
        "export: a bidirectional network has no step function: its first output depends on the "
        "last input; allowed: model.bidirectional=false",
    )
    require(
        frozen.decoder.reads is not Reading.pair,
        "export: the network reads pairs of sequences; allowed: one sequence",
    )
    to = _start(frozen, sizes)
    x = frozen.encoder.lower(to, to.input)
    for block in frozen.blocks:
        x = block.lower(to, x)
    x = frozen.final_norm.lower(to, x)
    gain = frozen.decoder_gain().get("gain")
    y = frozen.decoder.lower(to, x, gain)
    program = to.program(y, frozen.decoder.reads is Reading.steps)
    _check_finite(program)
    return program


def _start(frozen: SequenceModel, sizes: TaskSizes) -> Builder:
    kind = sizes.input
    if isinstance(kind, Tokens):
        return Builder(1, kind.vocabulary)
    assert isinstance(kind, Channels)
    return Builder(frozen.framing.samples * kind.count)


def _check_finite(program: Program) -> None:
    for name, array in program.arrays().items():
        if not bool(torch.isfinite(torch.from_numpy(array)).all()):
            raise UsageError(f"export: the array {name} of the network holds NaN or infinity")
