"""Build the components of a run without training, to find invalid settings early."""

from __future__ import annotations

import traceback
import warnings

import torch

from ssmbench.build.network import build_network
from ssmbench.build.optimizer import build_optimizer
from ssmbench.build.task import build_task
from ssmbench.config import RunConfig
from ssmbench.errors import UsageError, one_line
from ssmbench.origins import plugin_line, with_plugin_line


def check_parts(config: RunConfig) -> None:
    """Build the task, the network and the optimizer of a run, and discard them; torch's generator
    is left unchanged.

    Raises:
        UsageError: one of them cannot be built.
    """
    try:
        with warnings.catch_warnings(), torch.random.fork_rng(devices=[]):
            warnings.simplefilter("ignore")  # the run will issue them again
            task = build_task(config)
            network = build_network(config, task.sizes)
            if task.conditions.uneven:
                network.check_uneven()
            build_optimizer(network, config.optimizer)
    except UsageError as error:
        raise with_plugin_line(error) from error
    except Exception as error:  # a plugin's: a sentence for its user, the line for its author
        place = plugin_line(error) or _innermost(error)
        raise UsageError(f"the model cannot be built: {one_line(error)} ({place})") from error


def _innermost(error: BaseException) -> str:
    place = traceback.extract_tb(error.__traceback__)[-1]
    return f"{place.filename}:{place.lineno}"


def check_data(config: RunConfig) -> None:
    """Load the data of a run.

    Raises:
        UsageError: the data cannot be used, or do not fill a batch.
    """
    build_task(config).train_dataloader()
