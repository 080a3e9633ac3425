"""How loose is the declared gain of a trained network? For our networks and those of neural-ssm.

    python tools/network_slack.py                              # ours, 1, 2, 4 and 8 blocks
    python tools/network_slack.py --peer l2n --json slack.json # also neural-ssm, same size
    python tools/network_slack.py --blocks 4 --set model.nonlinearity=sll model.mix=true

Sequential digits; the logits are summed over time and divided by sqrt(L), so that a gain of the
outputs at each step is also a gain of the logits. The adversary attacks both: the logits, and the
outputs at each step before pooling, for which the same gain is declared. Both kinds of network use
one training loop (the config's task, batches, AdamW and schedule, and the weights of the last step)
and one adversary.

*Declared* is the guarantee at the present parameters: gamma for ours, and for neural-ssm's
``certified_gain_bound()``, which may be less than the gamma it was given. *Composed* is the bound
from the exact H-infinity norms of the trained layers, for neural-ssm's together with their residual
connection. *Slack* is declared / attacked, an upper bound on declared / true gain: a stronger
adversary gives a smaller one.

neural-ssm is not a dependency of ssmbench; INSTALL has the command that installs it. The tool was
written for its version 0.44.
"""

from __future__ import annotations

import argparse
import copy
import math
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from ssmbench import jsonio, registry
from ssmbench.analysis.hinf import hinf_norm
from ssmbench.build.network import build_network
from ssmbench.build.optimizer import parameter_groups
from ssmbench.build.schedule import Schedule
from ssmbench.build.task import build_task
from ssmbench.config import RunConfig, load_run, options_of, typed
from ssmbench.errors import UsageError, require
from ssmbench.nn.decoders.linear import AffineConfig, PerStep
from ssmbench.nn.freeze import exact_map, freeze
from ssmbench.nn.model import SequenceModel
from ssmbench.nn.pooling import Pooling
from ssmbench.optimizers.base import OptimizerConfig
from ssmbench.parametrizations.base import Parametrization
from ssmbench.spec import Channels, TaskSizes
from ssmbench.systems import DiscreteDense
from ssmbench.tasks.base import Task
from ssmbench.training.adversary import attack_network

CONFIG = Path(__file__).parents[1] / "configs" / "runs" / "digits_certified.yaml"
#: The certified cells of neural-ssm that are linear and time-invariant, so that their gain is an
#: incremental one. For each, the learning rate with the best accuracy among several from 0.003 to
#: 0.1, at 4 blocks and 8 epochs. Its "legacy" cell l2ru is not used: it is ten times slower and
#: violates its declared bound.
PEERS = {"l2n": 0.003, "defect": 0.03}
INSTALL = "pip install --no-deps neural-ssm deel-torchlip einops"
ATTACK_INPUTS = 64


class PeerNetwork(nn.Module):
    """A certified network of neural-ssm with one kind of cell, and its outputs pooled to logits.

    Width, states and blocks are those of the config; all other settings are its defaults.
    """

    def __init__(self, cell: str, run: RunConfig, task: Task):
        super().__init__()
        model = run.model
        self.pooling: Pooling | None = Pooling.unit
        self.net = _peer_class()(
            task.sizes.input.count,
            task.sizes.outputs,
            d_model=model.d_model,
            d_state=model.parametrization["d_state"],
            n_layers=model.n_layers,
            param=cell,
            gamma=model.gamma,
        )

    def forward(self, u: Float[Tensor, "B L m"]) -> Float[Tensor, "B *steps classes"]:
        y, _ = self.net(u)
        return y if self.pooling is None else y.sum(1) / math.sqrt(u.shape[1])

    def gains(self) -> dict[str, float]:
        """The gain declared at the present parameters, and that composed from verified gains."""
        declared = self.net.certified_gain_bound().item()
        composed = declared
        for block, figures in zip(
            self.net.blocks, self.net.gain_diagnostics()["blocks"], strict=True
        ):
            composed *= residual_gain(block.lru, figures["alpha_ssm"]) / figures["ssm_factor"]
        return {"declared": declared, "composed": composed}


def _peer_class() -> type[nn.Module]:
    try:
        from neural_ssm.ssm.layers import DeepSSM
    except ModuleNotFoundError as error:
        raise UsageError(f"--peer: no module {error.name}; {INSTALL}") from None
    return DeepSSM


def residual_gain(cell: nn.Module, share: float) -> float:
    """H-infinity norm of I + share G, for the cell's G."""
    make = cell.set_param if hasattr(cell, "set_param") else cell.compute_z_matrices
    A, B, C, D = (matrix.detach().double() for matrix in make()[:4])
    D = torch.eye(len(D), dtype=D.dtype) + share * D
    return hinf_norm(DiscreteDense(A=A[None], B=B[None], C=share * C[None], D=D[None])).norm.item()


def our_gains(model: SequenceModel, length: int) -> dict[str, float]:
    """The declared gain gamma, and the bound composed from the verified gains of the layers."""
    with torch.no_grad():
        verified = [hinf_norm(layer.system().double()).norm.max().item() for layer in model.layers]
    return {"declared": model.gamma, "composed": model.bound(verified, length).value}


def train(
    model: nn.Module,
    task: Task,
    optimizer: OptimizerConfig,
    *,
    epochs: int,
    steps: int | None = None,
    kind: type[nn.Module] = Parametrization,
) -> None:
    """Train in place by AdamW with warm-up and cosine decay, for at most ``steps`` batches.

    Raises:
        FloatingPointError: the loss is not finite.
    """
    adamw = torch.optim.AdamW(parameter_groups(model, optimizer, kind))
    batches = task.train_dataloader()
    total = min(epochs * len(batches), steps or sys.maxsize)
    schedule = torch.optim.lr_scheduler.LambdaLR(adamw, Schedule(optimizer, total))
    model.train()
    for step in range(total):
        if step % len(batches) == 0:
            batches.batch_sampler.sampler.set_epoch(step // len(batches))
            rest = iter(batches)
        batch = next(rest)
        loss = task.batch_loss(model(batch.u), batch)
        if not bool(torch.isfinite(loss)):
            raise FloatingPointError(f"diverged at step {step}")
        adamw.zero_grad()
        loss.backward()
        adamw.step()
        schedule.step()


def attacks(
    model: nn.Module, exact: nn.Module | None, task: Task, run: RunConfig, budgets: list[int]
) -> dict[str, dict[int, float]]:
    """Incremental gains of the logits and before pooling, for each number of ascent steps."""
    found = {}
    for where, adapt in (("logits", lambda part: part), ("steps", _before_pooling)):
        network, precise = adapt(model), None if exact is None else adapt(exact)
        found[where] = {steps: _attacked(network, precise, task, run, steps) for steps in budgets}
    return found


def _before_pooling(model: nn.Module) -> nn.Module:
    """A copy of the network, sharing its parameters, that returns the outputs at each step."""
    model = copy.copy(model)
    if isinstance(model, PeerNetwork):
        model.pooling = None
        return model
    old, model._modules = model.decoder, dict(model._modules)
    sizes = TaskSizes(Channels(1), old.out_features, length=1, per_step=True)
    d_model, pooling = old.in_features, old.pooling
    model.decoder = PerStep(AffineConfig(), sizes=sizes, d_model=d_model, pooling=pooling).to(
        old.weight
    )
    model.decoder.load_state_dict(old.state_dict())
    return model


def _attacked(
    model: nn.Module, exact: nn.Module | None, task: Task, run: RunConfig, steps: int
) -> float:
    inputs = task.sample_inputs("val", ATTACK_INPUTS)
    config = replace(run.analysis, attack_steps=steps)
    return attack_network(model, exact, inputs, config).worst.gain


def accuracy(model: nn.Module, task: Task) -> float:
    """Share of the test images that are classified correctly."""
    test = task.sample("test")
    with torch.no_grad():
        return (model(test.u).argmax(-1) == test.target).double().mean().item()


def rates(run: RunConfig) -> OptimizerConfig:
    """The options of the run's optimizer, which must be AdamW's."""
    return options_of(registry.optimizers, run.optimizer)


def measure_ours(run: RunConfig, options: argparse.Namespace) -> dict[str, Any]:
    """Train one of our networks and measure its gains and accuracy."""
    task = _task(run)
    model = build_network(run, task.sizes)
    train(model, task, rates(run), epochs=options.epochs, steps=options.steps)
    frozen = freeze(model)
    exact = exact_map(frozen, task.sample_inputs("val", 1))
    return {
        **our_gains(model, task.sizes.length),
        "attacked": attacks(frozen, exact, task, run, options.attack_steps),
        "accuracy": accuracy(frozen, task),
        "parameters": model.parameter_count(),
    }


def measure_peer(cell: str, run: RunConfig, options: argparse.Namespace) -> dict[str, Any]:
    """The same for a network of neural-ssm with one kind of cell."""
    task = _task(run)
    model = PeerNetwork(cell, run, task)
    rate = options.peer_lr or PEERS[cell]
    optimizer = replace(rates(run), lr=rate, ssm_lr=rate)
    cells = type(model.net.blocks[0].lru)
    train(model, task, optimizer, epochs=options.epochs, steps=options.steps, kind=cells)
    model.eval().requires_grad_(False)
    return {
        **model.gains(),
        # In float32 only: in float64 its cells would compute other matrices from the parameters.
        "attacked": attacks(model, None, task, run, options.attack_steps),
        "accuracy": accuracy(model, task),
        "parameters": sum(p.numel() for p in model.parameters()),
    }


def _task(run: RunConfig) -> Task:
    """The task with its data; also seeds torch's generator, for building the network."""
    task = build_task(run)
    task.setup()
    torch.manual_seed(run.seed)
    return task


def row(network: str, blocks: int, seed: int, options: argparse.Namespace) -> dict[str, Any]:
    """The figures of one trained network; ``error`` has the reason if training failed."""
    overrides = [*options.set, f"model.n_layers={blocks}", f"model.gamma={options.gamma}"]
    run = typed(load_run(CONFIG, [*overrides, f"seed={seed}"]))
    found = {"network": network, "blocks": blocks, "seed": seed, "gamma": options.gamma}
    started = time.perf_counter()
    measure: Callable[..., dict[str, Any]] = measure_ours
    arguments: tuple[Any, ...] = (run, options)
    if network != "ours":
        measure, arguments = measure_peer, (network.split()[-1], run, options)
    try:
        found |= measure(*arguments)
        found["slack"] = _slack(found)
    except (FloatingPointError, torch.linalg.LinAlgError) as error:
        found["error"] = str(error)
    return found | {"seconds": round(time.perf_counter() - started, 1)}


def _slack(found: dict[str, Any]) -> dict[str, dict[int, float]]:
    return {
        where: {steps: found["declared"] / gain if gain else math.inf for steps, gain in of.items()}
        for where, of in found["attacked"].items()
    }


def _with_text_keys(value: Any) -> Any:
    """The same with the numbers of ascent steps as strings, since keys in JSON must be strings."""
    if isinstance(value, dict):
        return {str(key): _with_text_keys(inner) for key, inner in value.items()}
    return [_with_text_keys(inner) for inner in value] if isinstance(value, list) else value


def table(rows: list[dict[str, Any]], budgets: list[int]) -> str:
    """A Markdown table with a row for each network and the logits' slack for each budget."""
    head = ["network", "blocks", "seed", "declared", "composed"]
    head += ["attacked, logits", "attacked, steps"]
    head += [f"slack, logits, {steps} ascents" for steps in budgets]
    head += ["slack, steps", "test accuracy", "parameters", "seconds"]
    lines = ["| " + " | ".join(head) + " |", "|" + " --- |" * len(head)]
    for row in rows:
        cells = [row["network"], str(row["blocks"]), str(row["seed"])]
        figures = _figures(row, budgets) if "slack" in row else [row["error"]]
        figures += [""] * (len(head) - len(cells) - len(figures) - 1)
        lines.append("| " + " | ".join([*cells, *figures, f"{row['seconds']:g}"]) + " |")
    return "\n".join(lines)


def _figures(row: dict[str, Any], budgets: list[int]) -> list[str]:
    attacked, slack, last = row["attacked"], row["slack"], budgets[-1]
    gains = (row["declared"], row["composed"], attacked["logits"][last], attacked["steps"][last])
    cells = [f"{gain:.4g}" for gain in gains]
    cells += [f"{slack['logits'][steps]:.3f}" for steps in budgets]
    return [*cells, f"{slack['steps'][last]:.3f}", f"{row['accuracy']:.1%}", f"{row['parameters']}"]


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """The options, with defaults filled in."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--blocks", type=int, nargs="+", default=[1, 2, 4, 8])
    parser.add_argument("--gamma", type=float, default=10.0, help="prescribed gain")
    parser.add_argument(
        "--peer", nargs="*", choices=PEERS, help="cells of neural-ssm; without a name: l2n"
    )
    parser.add_argument("--peer-lr", type=float, help="learning rate of neural-ssm")
    parser.add_argument("--seeds", type=int, default=1, help="number of seeds, from 0")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--steps", type=int, help="largest number of training steps")
    parser.add_argument("--attack-steps", type=int, nargs="+", default=[40, 160])
    parser.add_argument(
        "--set",
        nargs="*",
        action="extend",
        default=[],
        help="overrides of the run config",
    )
    parser.add_argument("--json", type=Path, help="also write every figure to this file")
    options = parser.parse_args(arguments)
    options.attack_steps = sorted(set(options.attack_steps))
    options.peer = ["l2n"] if options.peer == [] else options.peer or []
    return options


def _check(options: argparse.Namespace) -> None:
    """Raise a UsageError now for options that would only fail after an hour."""
    counts = ("seeds", "epochs", "steps")
    wanted = [getattr(options, name) for name in counts] + options.blocks + options.attack_steps
    require(all(n is None or n > 0 for n in wanted), "every number must be at least 1")
    if options.peer:
        _peer_class()


def main(arguments: list[str] | None = None) -> int:
    options = parse(arguments)
    torch.set_num_threads(1)
    networks = ["ours", *(f"neural-ssm {cell}" for cell in options.peer)]
    rows = []
    try:
        _check(options)
        for blocks in options.blocks:
            for network in networks:
                rows += [row(network, blocks, seed, options) for seed in range(options.seeds)]
                print(table(rows[-options.seeds :], options.attack_steps), file=sys.stderr)
                if options.json:
                    options.json.write_text(jsonio.dumps(_with_text_keys(rows), indent=1) + "\n")
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(table(rows, options.attack_steps))
    return 0


if __name__ == "__main__":
    sys.exit(main())
