"""How fast a network learns MNIST a pixel a step, on images of 14 x 14: some ten CPU seconds.

    python tools/early_training.py certified_memory:mnist/certified-50 --width 16 --states 32
    python tools/early_training.py certified_memory:mnist/S4D --width 16 --states 32
    python tools/early_training.py certified_memory:mnist/certified-50 model.normaliser.gamma=3

Averages 2 x 2 pixels, so that sequences have 196 steps, and trains for the first ``--stop`` of
``--steps`` steps (warm-up over a tenth, then cosine decay to 1%). Prints the root mean square of
the signal after the encoder and after each block of the new network, which shows whether biases or
signals are larger; a moving average of the loss; and the accuracy on 1,000 images for validation.
One thread, the seed of the config. To choose among settings, not to report scores.
"""

from __future__ import annotations

import argparse
import math
import time

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from ssmbench.build.network import build_network
from ssmbench.build.optimizer import build_optimizer
from ssmbench.build.task import build_task
from ssmbench.config import RunConfig, typed
from ssmbench.errors import UsageError, require
from ssmbench.library.configs import read_run
from ssmbench.nn.model import SequenceModel
from ssmbench.tasks.mnist import PIXELS, SIDE
from ssmbench.tasks.sequences import Sequences

VALIDATION = 1000
Images = tuple[Float[Tensor, "n L 1"], Int[Tensor, " n"]]


def small_images(run: RunConfig) -> tuple[Images, Images]:
    """Training and validation images of a quarter of the pixels, of standard deviation 1.

    Raises:
        UsageError: the run is not one of MNIST in the order of the rows.
    """
    task = build_task(run)
    require(
        run.task["name"] == "mnist" and task.sizes.image == (SIDE, SIDE) and run.model.frame == 1,
        "needs a run of mnist without a permutation, read a pixel a step",
    )
    splits = task.load()
    return _reduced(splits.train), _reduced(splits.val)


def _reduced(part: Sequences) -> Images:
    assert part.u.shape[1] == PIXELS
    images = F.avg_pool2d(part.u.view(-1, 1, SIDE, SIDE), 2)
    u = images.flatten(1).unsqueeze(-1)
    return u / u.std(), part.target


def rate_factor(step: int, steps: int) -> float:
    """Of the learning rates: rising over a tenth of the steps, then a cosine down to 1%."""
    rising = 0.1 * steps
    if step < rising:
        return min(1.0, (step + 1) / rising)
    return 0.01 + 0.99 * (1 + math.cos(math.pi * (step - rising) / (steps - rising))) / 2


@torch.no_grad()
def signal_sizes(model: SequenceModel, u: Float[Tensor, "B L 1"]) -> list[float]:
    """Standard deviations of the signal after the encoder and after each block."""
    x = model.encode(u)
    sizes = [x.std().item()]
    for block in model.blocks:
        x = block(x)
        sizes.append(x.std().item())
    return sizes


def train(
    run: RunConfig, model: SequenceModel, images: Images, steps: int, stop: int, every: int
) -> float:
    """Train and print; the moving average of the loss at the end."""
    optimizer = build_optimizer(model, run.optimizer)
    rates = [group["lr"] for group in optimizer.param_groups]
    (u, target), count = images, run.batch_size
    random, started, average = torch.Generator().manual_seed(run.seed), time.process_time(), 0.0
    epochs = steps * count // len(u) + 1
    order = torch.cat([torch.randperm(len(u), generator=random) for _ in range(epochs)])
    for step in range(stop):
        for group, rate in zip(optimizer.param_groups, rates, strict=True):
            group["lr"] = rate * rate_factor(step, steps)
        chosen = order[step * count : (step + 1) * count]
        loss = F.cross_entropy(model(u[chosen]), target[chosen])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        average = loss.item() if step == 0 else 0.98 * average + 0.02 * loss.item()
        if (step + 1) % every == 0:
            used = time.process_time() - started
            print(f"step {step + 1}: loss {average:.3f}, {used:.0f} s of CPU time", flush=True)
    return average


@torch.no_grad()
def accuracy(model: SequenceModel, images: Images) -> float:
    """Of the first images, in evaluation mode."""
    model.eval()
    right = 0
    for u, target in zip(*(part[:VALIDATION].split(250) for part in images), strict=True):
        right += int((model(u).argmax(-1) == target).sum())
    return right / VALIDATION


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("config", help="a run's config, or SUITE:TASK/VARIANT")
    parser.add_argument("overrides", nargs="*", help="key=value")
    parser.add_argument("--steps", type=int, default=400, help="of the schedule")
    parser.add_argument("--stop", type=int, default=200, help="steps that are trained")
    parser.add_argument("--every", type=int, default=50, help="steps between two printed losses")
    parser.add_argument("--width", type=int, default=16, help="channels")
    parser.add_argument("--states", type=int, default=32, help="of each layer or head")
    chosen = parser.parse_args(arguments)
    sizes = [f"model.d_model={chosen.width}", f"model.parametrization.d_state={chosen.states}"]
    torch.set_num_threads(1)
    try:
        run = typed(read_run(chosen.config, [*sizes, *chosen.overrides]).config)
        train_images, val_images = small_images(run)
        torch.manual_seed(run.seed)
        model = build_network(run, build_task(run).sizes)
        found = signal_sizes(model, train_images[0][:64])
        print("signal after the encoder and each block:", " ".join(f"{s:.2f}" for s in found))
        steps = (chosen.steps, min(chosen.stop, chosen.steps), chosen.every)
        loss = train(run, model, train_images, *steps)
    except UsageError as error:
        parser.exit(2, f"error: {error}\n")
    print(f"loss {loss:.3f}, validation accuracy {accuracy(model, val_images):.1%}")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
