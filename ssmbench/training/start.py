"""Training that starts from the weights of an earlier run."""

from __future__ import annotations

from ssmbench.config.start import checked_start
from ssmbench.errors import UsageError, one_line
from ssmbench.nn.model import SequenceModel
from ssmbench.training.checkpoints import load_checkpoint

#: Begins the names of the network's parameters in a checkpoint.
PREFIX = "model."


def load_start(network: SequenceModel, start: str, digest: str) -> None:
    """Fill a network with the weights of the run in the folder ``start``.

    Raises:
        UsageError: there are none, they have another digest, or they do not fit the network.
    """
    file = checked_start(start, digest)
    state = load_checkpoint(file)["state_dict"]
    weights = {k.removeprefix(PREFIX): v for k, v in state.items() if k.startswith(PREFIX)}
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:
        raise UsageError(f"start: {file}: does not fit the network: {one_line(error)}") from None
