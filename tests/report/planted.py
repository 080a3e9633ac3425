"""Suites whose results are generated, not trained: for tests of everything that reads them."""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ssmbench import jsonio
from ssmbench.results import (
    Certified,
    Environment,
    FurtherTest,
    Gains,
    LayerGains,
    NeighbourFloor,
    NetworkGains,
    PluginFacts,
    Provenance,
    PublishedScore,
    Result,
    RobustnessPoint,
    Scores,
    Sitting,
    TaskFacts,
)
from ssmbench.runs.folder import RunFolder
from ssmbench.runs.poles import npz

#: The task's classification and regression alternate, as do variants without and with a bound.
ENERGIES = (0.0, 0.1, 0.3, 1.0)
_DISCRETIZERS = ("zoh", "tustin", "none")


@dataclass(frozen=True)
class Planted:
    """Options of :func:`planted_suite`.

    ``effect``: by how many standard deviations over seeds two neighbouring variants differ.
    ``troubles``: whether the last variant's runs diverge, fail and are missing.
    ``discretizers``: of each variant; the last variant of three has a declared gain and none.
    ``digest``: of every task's data. ``first_seed``: the others follow. ``shift``: added to every
    score. ``curves``: with robustness and further tests. ``layers``: in every network.
    """

    name: str = "planted"
    effect: float = 2.0
    troubles: bool = True
    digest: str = "0123456789ab"
    first_seed: int = 0
    shift: float = 0.0
    curves: bool = True
    layers: int = 2
    host: str = "planted-host"
    published: bool = True
    metric: str = ""


def planted_suite(root: Path, tasks: int, variants: int, seeds: int, **options: Any) -> Path:
    """Write a suite of ``tasks * variants * seeds`` runs into ``root``; returns its folder.

    Tasks ``task0``, ``task1``, ...: classifications and regressions in turn. Variants ``V0``,
    ``V1``, ...: the first is the best. The same arguments give the same files, but for times.
    ``options``: those of :class:`Planted`.
    """
    planted = Planted(**options)
    cells = [
        _cell(root, planted, task, variant, planted.first_seed + seed, variant == variants - 1)
        for task in range(tasks)
        for variant in range(variants)
        for seed in range(seeds)
    ]
    refused = [{"variant": "V0", "discretizer": "dirac", "reason": "a planted reason"}]
    record = {"name": planted.name, "cells": cells, "refused": refused}
    (root / "suite.json").write_text(jsonio.dumps(record, indent=1))
    return root


def _cell(
    root: Path, planted: Planted, task: int, variant: int, seed: int, last: bool
) -> Mapping[str, Any]:
    discretizer = _DISCRETIZERS[variant % 3]
    words = f"{planted}-{task}-{variant}-{seed}"
    random = np.random.default_rng(zlib.crc32(words.encode()))
    cell = {
        "task": f"task{task}",
        "variant": f"V{variant}",
        "discretizer": discretizer,
        "seed": seed,
        "label": f"task{task}/V{variant}-{discretizer}-s{seed}",
        "fingerprint": f"{random.integers(16**12):012x}",
    }
    folder = RunFolder(root / "runs" / cell["fingerprint"])
    folder.path.mkdir(parents=True)
    state = ("diverged", "failed", "missing")[seed % 3] if last and planted.troubles else "finished"
    _write(folder, state, planted, cell, _result(planted, task, variant, seed, random))
    return cell


def _write(
    folder: RunFolder, state: str, planted: Planted, cell: Mapping[str, Any], result: Result
) -> None:
    config = {"variant": cell["variant"], "task": {"name": cell["task"]}, "seed": cell["seed"]}
    (folder.path / "config.yaml").write_text(jsonio.dumps(config))  # JSON is YAML
    if state == "failed":
        (folder.path / "error.txt").write_text("Traceback ...\nRuntimeError: a planted crash\n")
        folder.write_status("failed", reason="RuntimeError: a planted crash")
    if state == "diverged":
        gain = replace(result.gain, verified=np.inf, attacked=1e9, spectral_radius=1.5)
        result = replace(result, status=state, diverged_at=7, scores=None, robustness=(), gain=gain)
        result = replace(result, further_tests=(), certified=None)
    if state in ("finished", "diverged"):
        result = replace(result, fingerprint=cell["fingerprint"])
        poles = 0.99 * np.exp(1j * np.linspace(0, np.pi, 4))
        layers = {f"layer{i}": poles for i in range(planted.layers)}
        (folder.path / "poles.npz").write_bytes(npz(layers))
        (folder.path / "result.json").write_text(jsonio.dumps(result.to_dict()))
        _write_status(folder, state)


def _write_status(folder: RunFolder, state: str) -> None:
    """As RunFolder does, without waiting for the disk."""
    content = {"state": state, "updated": 1e9, "files": folder._needed_files()}
    (folder.path / "status.json").write_text(jsonio.dumps(content))


def _result(
    planted: Planted, task: int, variant: int, seed: int, random: np.random.Generator
) -> Result:
    facts, declared = _facts(planted, task), 5.0 if variant % 3 == 2 else None
    spread = 0.005 if facts.classifies else 0.02
    worse = spread * planted.effect * variant + spread * float(random.standard_normal())
    score = planted.shift + (0.95 - worse if facts.classifies else 0.4 + worse)
    if facts.classifies:
        score = round(score * 360) / 360
    verified = (0.99 * declared) if declared else 10.0 + variant + float(random.random())
    layers = tuple(
        LayerGains(declared, verified, 0.8 * verified, 0.1, 0.99, 0.01)
        for _ in range(planted.layers)
    )
    network = NetworkGains(None, 40.0 * verified, "", 3.0 + variant)
    gains = Gains(declared, verified, 0.8 * verified, 0.99, network, margin=0.01, layers=layers)
    return Result(
        status="finished",
        diverged_at=None,
        scores=Scores(val=score, test=score, last_val=score, last_test=score),
        task=facts,
        gain=gains,
        robustness=_curves(score, facts, declared) if planted.curves else (),
        certified=_certified(score, facts, declared) if planted.curves else None,
        further_tests=_further(score) if planted.curves else (),
        parameters=1000 + variant,
        steps_per_second=50.0 + float(random.random()),
        environment=_ENVIRONMENT,
        variant=f"V{variant}",
        parametrization="s4d",
        discretizer=_DISCRETIZERS[variant % 3],
        seed=seed,
        steps=100,
        seconds=20.0 + seed,
        effective_batch=16,
        provenance=Provenance.of([_sitting(planted, seed)]),
    )


def _facts(planted: Planted, task: int) -> TaskFacts:
    classifies = task % 2 == 0
    published = PublishedScore("Published Net", 0.97 if classifies else 0.35, "A. Author (2026)")
    return TaskFacts(
        name=f"task{task}",
        source="generated",
        metric=planted.metric or ("accuracy" if classifies else "rmse"),
        higher_is_better=classifies,
        unit="" if classifies else "V",
        data_digest=planted.digest,
        baselines={"majority class": 0.1} if classifies else {"mean": 2.0, "linear": 0.9},
        published=(published,) if planted.published else (),
        classifies=classifies,
        test_sequences=360,
    )


_ENVIRONMENT = Environment(
    device="cpu",
    threads=1,
    measured_on="cpu",
    cpus=2,
    python="3.13.0",
    packages={"torch": "2.13.0", "ssmbench": "0.1.0"},
    plugins=(PluginFacts("planted", "planted.py", "abc"),),
)


def _sitting(planted: Planted, seed: int) -> Sitting:
    return Sitting(
        started=1e9,
        host=planted.host,
        pid=1,
        ended=1e9 + 20.0 + seed,
        why="finished",
        steps=100,
        commit="0" * 40,
        ssmbench_commit="1" * 40,
        peak_memory=300_000_000 + seed,
        energy=500.0 + seed,
        energy_of="CPU package",
    )


def _curves(score: float, facts: TaskFacts, declared: float | None) -> tuple[RobustnessPoint, ...]:
    """Falls from the score to nothing, faster under an adversary."""
    sign = -1 if facts.higher_is_better else 1
    speeds = {"random": 0.2, "adversarial": 1.0}
    if facts.classifies and declared is not None:
        speeds["certified"] = 3.0
    return tuple(
        RobustnessPoint(energy, kind, score * (1 + sign * min(1.0, speed * energy)))
        for kind, speed in speeds.items()
        for energy in ENERGIES
    )


def _certified(score: float, facts: TaskFacts, declared: float | None) -> Certified:
    """Of classes a median radius, of real outputs changes, where a gain is declared."""
    figures = Certified(8.0, "input", 256, "sequence")
    if facts.classifies:
        curve = tuple(RobustnessPoint(e, "nearest neighbour", 0.9 * (1 - e)) for e in ENERGIES)
        figures = replace(figures, nearest_neighbour=NeighbourFloor(curve, 0.12))
    if declared is None:
        return replace(figures, reason="the norm declares no Lipschitz constant")
    if facts.classifies:
        return replace(figures, median_radius=score / 10)
    return replace(figures, largest_changes=(2.0, 4.0), unit=facts.unit)


def _further(score: float) -> tuple[FurtherTest, ...]:
    return tuple(
        FurtherTest(f"x{factor}", score / factor, False, "length factor", factor, (1.0, factor))
        for factor in (1.0, 2.0, 4.0)
    )
