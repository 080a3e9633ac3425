"""Compare settings for Cascaded Tanks by cross-validation, without using the test record.

    python tools/left_out.py configs/runs/tanks_certified.yaml            # about half a minute
    python tools/left_out.py configs/runs/tanks_certified.yaml task.input_noise=0 optimizer.lr=0.01

Trains on the estimation record three times, each time leaving the errors of one block of 256
samples out of the loss; the model still sees the inputs of the block, because the record is one
sequence. One step for each epoch of the config. Prints the root mean square error in volts on each
block, and over all three.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from ssmbench import registry
from ssmbench.build.network import build_network
from ssmbench.build.optimizer import build_optimizer
from ssmbench.build.schedule import Schedule
from ssmbench.build.task import build_task
from ssmbench.config import RunConfig, load_run, options_of, typed
from ssmbench.errors import UsageError, require
from ssmbench.tasks.batch import Batch

BLOCKS = ((128, 384), (384, 640), (640, 896))


def left_out_error(run: RunConfig, block: tuple[int, int], seed: int) -> float:
    """RMSE in volts on a block that is left out of the training loss.

    Raises:
        UsageError: the training set is not one sequence with a target at every step.
    """
    torch.manual_seed(seed)
    task = build_task(run)
    batch = task.sample("train")
    u, target = batch.u, batch.target
    whole = len(u) == 1 and u.shape[1] == target.shape[1] >= BLOCKS[-1][1]
    require(whole, "needs task.refit=true task.window=1024 task.washout=0: the record as a whole")
    model = build_network(run, task.sizes)
    kept = torch.ones(u.shape[1], dtype=torch.bool)
    kept[slice(*block)] = False
    _train(run, model, lambda: mse_loss(model(task.augment(batch).u)[:, kept], target[:, kept]))
    with torch.no_grad():
        predicted = model.eval()(u)[:, ~kept]
    return mse_loss(*task.batch_metric(predicted, Batch(u, target[:, ~kept]))).sqrt().item()


def _train(run: RunConfig, model: nn.Module, loss: Callable[[], Tensor]) -> None:
    steps = run.trainer["max_epochs"]
    optimizer = build_optimizer(model, run.optimizer)
    schedule = Schedule(options_of(registry.optimizers, run.optimizer), steps)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule)
    for _ in range(steps):
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()
        scheduler.step()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("config")
    parser.add_argument("overrides", nargs="*")
    parser.add_argument(
        "--seed",
        type=int,
        default=0,
        help="of the first block; then + 1 each",
    )
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    seeds = range(arguments.seed, arguments.seed + len(BLOCKS))
    try:
        run = typed(load_run(arguments.config, arguments.overrides))
        errors = [left_out_error(run, *pair) for pair in zip(BLOCKS, seeds, strict=True)]
    except UsageError as error:
        parser.exit(2, f"error: {error}\n")
    mean = torch.tensor(errors).square().mean().sqrt().item()
    print(" ".join(f"{e:.3f}" for e in errors), f"V on the blocks, {mean:.3f} V over all")


if __name__ == "__main__":
    main()
