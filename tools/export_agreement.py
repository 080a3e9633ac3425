"""Exported networks of runs over many steps, and an attack on them.

    python tools/export_agreement.py outputs/runs/RUN ... --steps 100000

prints a line for each run, format and way of storing weights: the largest difference from the
network's own stream after ``--steps`` steps of white noise, relative to the largest prediction
(float32 weights; of others, from the same weights in double precision), microseconds a step of the
sequence function, the bound of the exported matrices for any length, and the largest gain that an
attack reaches on the exported functions, by gradients through the exported step of PyTorch.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from ssmbench.exporters.base import Exported
from ssmbench.nn.freeze import exact_map, freeze
from ssmbench.nn.model import SequenceModel
from ssmbench.nn.program import program_of
from ssmbench.program import WEIGHTS, Program, stored_as
from ssmbench.program.reference import Network
from ssmbench.runs.export import ExportReport, ExportRequest, export_run, read_exported
from ssmbench.runs.load import load_trained

FORMATS = ("npz", "c", "onnx", "torch_export")
#: Predictions of a pooled network are compared after each of so many parts.
_PARTS = 10
_ATTACKED_STEPS, _ASCENTS = 24, 60
HEADS = ("run", "format", "weights", "difference", "us/step", "bound", "attacked")


def wanted(model: SequenceModel, program: Program, u: np.ndarray, weights: str) -> np.ndarray:
    """The predictions in double precision, of the network itself where weights are float32."""
    if weights != "float32":
        stored = stored_as(program, weights)
        network = Network(stored.description(), stored.arrays(), np.float64)
        return np.concatenate(list(in_parts(network, u)), 1)
    frame = model.framing.samples
    signal = torch.from_numpy(u).unflatten(-1, (frame, -1)).flatten(1, 2)
    exact, found, state = exact_map(model, signal[:, :frame]) or model, [], None
    for part in signal.split(signal.shape[1] // _PARTS, 1):
        with torch.no_grad():
            y, state = exact.stream(exact.as_input(part), state)  # type: ignore[union-attr]
        found.append(y if program.per_step else y[:, None])
    return torch.cat(found, 1).numpy()


def in_parts(network: Exported | Network, u: np.ndarray) -> Iterator[np.ndarray]:
    """The predictions of one part of the steps after another."""
    state = network.initial(len(u))
    for part in np.split(u, _PARTS, 1):
        y, state = network.sequence(part, state)
        yield y if y.ndim == 3 else y[:, None]


def attacked(program: Program) -> float:
    """The largest gain found by ascent along gradients through single steps of PyTorch."""
    from ssmbench.exporters.torch_export.module import ProgramModule

    torch.manual_seed(0)
    step = ProgramModule(program, sequence=False).requires_grad_(False)
    base = torch.randn(4, _ATTACKED_STEPS, program.width)
    change = torch.randn_like(base).requires_grad_()
    ascent, best = torch.optim.Adam([change], lr=0.1), 0.0
    y = _unrolled(step, base)
    for _ in range(_ASCENTS):
        moved = _unrolled(step, base + change) - y
        ratio = moved.flatten(1).norm(dim=1) / change.flatten(1).norm(dim=1)
        best = max(best, ratio.max().item())
        ascent.zero_grad()
        (-ratio.log().sum()).backward()
        ascent.step()
    return best


def _unrolled(step: Any, u: torch.Tensor) -> torch.Tensor:
    state, found = step.initial.expand(len(u), -1), []
    for k in range(u.shape[1]):
        y, state = step(u[:, k], state)
        found.append(y)
    return torch.stack(found, 1) if step.per_step else found[-1]


def bound_of(report: ExportReport) -> float:
    """The incremental bound for all lengths; infinite if there is none."""
    bounds = report.metadata["gains"]["network"]
    found = [b["bound"] for b in bounds if b["claim"] == "incremental" and b["from_steps"] == 1]
    return float("inf") if found[0] is None else found[0]


def lines(folder: Path, steps: int, stored: list[str]) -> Iterator[tuple[Any, ...]]:
    """The figures of a run."""
    run = load_trained(folder)
    model = freeze(run.model)
    program = program_of(model, run.task.sizes)
    u = np.random.default_rng(0).standard_normal((1, steps, program.width)).astype(np.float32)
    for weights in stored:
        y = wanted(model, program, u, weights)
        gain = attacked(stored_as(program, weights))
        for format in FORMATS:
            with tempfile.TemporaryDirectory() as place:
                report = export_run(folder, ExportRequest(format, weights), Path(place))
                network = read_exported(Path(report.files[0]))
                start = time.perf_counter()
                found = np.concatenate(list(in_parts(network, u)), 1)
                spent = 1e6 * (time.perf_counter() - start) / steps
                difference = np.abs(found - y).max() / np.abs(y).max()
                yield folder.name, format, weights, difference, spent, bound_of(report), gain


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--weights", nargs="+", choices=WEIGHTS, default=list(WEIGHTS))
    given = parser.parse_args()
    print("{:14} {:13} {:8} {:>10} {:>8} {:>9} {:>9}".format(*HEADS))
    for folder in given.runs:
        for line in lines(folder, given.steps, given.weights):
            print("{:14} {:13} {:8} {:10.2g} {:8.3g} {:9.4g} {:9.4g}".format(*line), flush=True)


if __name__ == "__main__":
    main()
