"""Compare the gain found by the default attack budget with that of ten times the budget.

    python tools/attack_strength.py                      # every network, about two minutes
    python tools/attack_strength.py --only sll --json
    python tools/attack_strength.py --against ../other   # compare gain and time with a checkout

Each of 14 networks is built from a config and a seed and trained for some seconds at most; no
weights are stored. *Tenfold* is the larger gain of two attacks: one with ten times the ascent steps
and one with ten times the restarts. Time is processor time of the attacks on the network and on
each of its layers. Two checkouts attack the same network in turns, ``--rounds`` times; the minimum
of the times is given.

Selective networks are not in the set: their incremental gain grows with the size of the input
without a practical bound, so every larger budget finds more.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ssmbench import jsonio
from ssmbench.build.network import build_network
from ssmbench.build.optimizer import build_optimizer
from ssmbench.build.task import build_task
from ssmbench.config import AnalysisConfig, RunConfig, merge, parse_overrides, resolve, typed
from ssmbench.nn.freeze import exact_map, freeze
from ssmbench.nn.model import SequenceModel
from ssmbench.tasks.base import Task
from ssmbench.training.adversary import attack_layer, attack_network

COMMON = "batch_size=32 model.d_model=16 model.n_layers=2 optimizer.lr=0.01 optimizer.ssm_lr=0.005"
LENGTH, INPUTS, FACTOR = 128, 8, 10
CERTIFIED = "model.residual=none model.mix=false model.pooling=unit model.gamma=10"


@dataclass(frozen=True)
class Network:
    """Overrides of the run config, optimizer steps, and a value for the encoder's bias if given."""

    overrides: str
    steps: int = 60
    bias: float | None = None


def _of(parametrization: str, model: str = "", task: str = "digits", **more: Any) -> Network:
    kind = f"task={task} model.parametrization.name={parametrization}"
    return Network(f"{kind} {model}", **more)


_STATES = "model.parametrization.d_state=16"
_RELU = "model.discretizer=tustin model.nonlinearity=relu model.residual=convex"
NETWORKS = {
    "contraction, sll, gamma": _of("contraction", f"{_STATES} model.nonlinearity=sll {CERTIFIED}"),
    "contraction, sll": _of("contraction", f"{_STATES} model.nonlinearity=sll", steps=0),
    "lru, LayerNorm": _of("lru", f"{_STATES} model.norm=layer"),
    "lru, LayerNorm, untrained": _of("lru", f"{_STATES} model.norm=layer", steps=0),
    "contraction_continuous, relu, convex": _of("contraction_continuous", f"{_STATES} {_RELU}"),
    "the same, untrained": _of("contraction_continuous", f"{_STATES} {_RELU}", steps=0),
    "s4d, gelu": _of("s4d", f"{_STATES} model.discretizer=zoh", steps=100),
    "s5, silu, last": _of(
        "s5", f"{_STATES} model.discretizer=zoh model.nonlinearity=silu model.pooling=last"
    ),
    "l2ru, gelu, per step": _of("l2ru", task="cascaded_tanks"),
    "linoss, tanh, per step": _of(
        "linoss",
        f"{_STATES} model.discretizer=backward_euler model.nonlinearity=tanh",
        task="cascaded_tanks",
    ),
    "unconstrained, glu, LayerNorm": _of(
        "unconstrained_dense",
        f"{_STATES} model.discretizer=zoh model.nonlinearity=glu model.norm=layer",
    ),
    "l2ru, groupsort, gamma": _of("l2ru", f"model.nonlinearity=groupsort {CERTIFIED}"),
    "s4d both ways, saturated_glu, per step": _of(
        "s4d",
        f"{_STATES} model.discretizer=zoh model.nonlinearity=saturated_glu "
        "model.bidirectional=true",
        task="cascaded_tanks",
    ),
    "s4d, tanh, saturated": _of(
        "s4d",
        f"{_STATES} model.discretizer=zoh model.nonlinearity=tanh model.residual=none "
        "model.mix=false",
        steps=0,
        bias=15.0,
    ),
}


def build(network: Network, seed: int = 0) -> tuple[SequenceModel, Tensor]:
    """A network of the set, and inputs (n, L, m) from which the adversary starts."""
    overrides = parse_overrides(f"{COMMON} {network.overrides}".split())
    run = typed(resolve(merge({}, overrides)))
    task = build_task(run)
    task.setup()
    torch.manual_seed(seed)
    model = build_network(run, task.sizes)
    _train(model, task, run, network.steps)
    if network.bias is not None:
        torch.nn.init.constant_(model.encoder.bias, network.bias)
    return model, task.sample_inputs("val", INPUTS).float()[:, :LENGTH]


def _train(model: SequenceModel, task: Task, run: RunConfig, steps: int) -> None:
    optimizer = build_optimizer(model, run.optimizer)
    batches = list(task.train_dataloader())
    for step in range(steps):
        batch = batches[step % len(batches)]
        optimizer.zero_grad()
        task.batch_loss(model(batch.u), batch).backward()
        optimizer.step()


class Target:
    """A frozen network, attacked as by :func:`ssmbench.training.gains.measure_gains`."""

    def __init__(self, model: SequenceModel, inputs: Tensor):
        self.frozen, self.inputs = freeze(model), inputs
        self.exact = exact_map(self.frozen, inputs)

    def gain(self, config: AnalysisConfig) -> float:
        """The largest incremental gain of the network that the attack finds."""
        found = attack_network(self.frozen, self.exact, self.inputs, config)
        return found.worst.gain

    def timed(self, config: AnalysisConfig) -> dict[str, float]:
        """The network's gain, and processor time of the attacks on the network and all layers."""
        started = time.process_time()
        gain = self.gain(config)
        for layer in self.frozen.layers:
            attack_layer(layer, self.inputs.shape[1], config)
        return {"gain": gain, "seconds": time.process_time() - started}


def tenfold(target: Target, config: AnalysisConfig) -> float:
    """The largest gain that ten times the budget finds."""
    longer = replace(config, attack_steps=FACTOR * config.attack_steps)
    wider = replace(config, attack_restarts=FACTOR * config.attack_restarts)
    return max(target.gain(budget) for budget in (longer, wider))


class OtherCheckout:
    """The same tool with the package of another checkout, in a separate process."""

    def __init__(self, checkout: Path):
        command = [sys.executable, __file__, "--worker"]
        environment = os.environ | {"PYTHONPATH": str(checkout.resolve())}
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=environment
        )

    def timed(self, name: str) -> dict[str, float]:
        print(name, file=self._process.stdin, flush=True)
        return jsonio.loads(self._process.stdout.readline())

    def close(self) -> None:
        self._process.stdin.close()
        self._process.wait()


def _serve() -> None:
    """Attack each network that is named on a line of standard input."""
    targets: dict[str, Target] = {}
    for line in sys.stdin:
        name = line.rstrip("\n")
        if name not in targets:
            targets = {name: Target(*build(NETWORKS[name]))}
            targets[name].timed(replace(AnalysisConfig(), attack_steps=2))  # warm up
        print(jsonio.dumps(targets[name].timed(AnalysisConfig())), flush=True)


def row(name: str, rounds: int, other: OtherCheckout | None) -> dict[str, Any]:
    """Gains with the default and the tenfold budget, and times."""
    config = AnalysisConfig()
    target = Target(*build(NETWORKS[name]))
    target.timed(replace(config, attack_steps=2))
    ours, theirs = [], []
    for _ in range(rounds):
        ours.append(target.timed(config))
        theirs += [other.timed(name)] if other else []
    best = tenfold(target, config)
    figures = {"network": name, "gain": ours[0]["gain"], "tenfold": best}
    figures |= {"ratio": ours[0]["gain"] / best, "seconds": min(r["seconds"] for r in ours)}
    if other:
        seconds = min(r["seconds"] for r in theirs)
        figures |= {"other_ratio": theirs[0]["gain"] / best, "other_seconds": seconds}
    return figures


def _line(figures: Mapping[str, Any]) -> str:
    return " | ".join(f"{v:.4g}" if isinstance(v, float) else v for v in figures.values())


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", default="", help="only networks whose name contains this text")
    parser.add_argument("--rounds", type=int, default=3, help="timed attacks per network")
    parser.add_argument("--against", type=Path, help="folder of another checkout to compare with")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    torch.set_num_threads(1)
    if options.worker:
        _serve()
        return 0
    other = OtherCheckout(options.against) if options.against else None
    rows = []
    for name in (name for name in NETWORKS if options.only in name):
        rows.append(row(name, options.rounds, other))
        if not options.json:
            lines = [_line(rows[-1])] if len(rows) > 1 else [" | ".join(rows[-1]), _line(rows[-1])]
            print(*lines, sep="\n", flush=True)
    if other:
        other.close()
    if options.json:
        print(jsonio.dumps(rows, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
