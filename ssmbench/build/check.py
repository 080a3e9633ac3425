"""Build what a run needs without training it, to find bad settings early."""

from __future__ import annotations

import traceback
import warnings

import torch

from ssmbench.build.network import build_network
from ssmbench.build.optimizer import build_optimizer
from ssmbench.build.task import build_task
from ssmbench.config import RunConfig
from ssmbench.errors import UsageError, one_line
from ssmbench.origins import located, plugin_line


def check_parts(config: RunConfig) -> None:
    """Build the task, the network and the optimizer of a run; torch's generator is left alone.

    Raises:
        UsageError: what would stop the run.
    """
    try:
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter("ignore")  # they come again when the run begins
            network = build_network(config, build_task(config).sizes)
            build_optimizer(network, config.optimizer)
    except UsageError as error:
        raise located(error) from error
    except Exception as error:  # a plugin's: its author wants the place, its user a sentence
        place = plugin_line(error) or _innermost(error)
        raise UsageError(f"the model cannot be built: {one_line(error)} ({place})") from error


def _innermost(error: BaseException) -> str:
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{place.filename}:{place.lineno}"


def check_data(config: RunConfig) -> None:
    """Load a run's data.

    Raises:
        UsageError: they cannot be used, or do not fill a batch.
    """
    build_task(config).train_dataloader()
