"""Charts of runs: each from the files of their folders, several runs in one."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from ssmbench.analysis.hankel import hankel_singular_values
from ssmbench.analysis.markov import markov_parameters
from ssmbench.errors import UsageError, require
from ssmbench.figures.chart import Chart
from ssmbench.figures.frequency import frequency_chart
from ssmbench.figures.hankel import hankel_chart
from ssmbench.figures.impulse import impulse_chart
from ssmbench.figures.poles import poles_chart
from ssmbench.figures.training import training_chart
from ssmbench.runs.labels import labels
from ssmbench.runs.layers import LayerSystem, layer_systems
from ssmbench.runs.load import load_trained
from ssmbench.runs.metrics import Curve, read_metrics
from ssmbench.runs.poles import POLES_FILE, read_poles
from ssmbench.runs.run import Run
from ssmbench.systems import DiscreteSystem

T = TypeVar("T")

#: Panels that one figure may have: more are not readable.
MOST_PANELS = 48
#: An impulse response ends where it has decayed to this share of its largest value; or, if it
#: never does, after so many steps.
_DECAYED, _LONGEST, _SHORTEST, _UNSTABLE_STEPS = 0.01, 1024, 16, 64
#: Numbers of one impulse response: 128 MB.
_MOST_NUMBERS = 2**24


@dataclass(frozen=True)
class Labelled:
    """A run under the label that it has in a figure."""

    label: str
    run: Run


def labelled(runs: Sequence[Run]) -> list[Labelled]:
    """The runs with labels that tell them apart."""
    return [Labelled(name, run) for name, run in zip(labels(runs), runs, strict=True)]


def poles(runs: Sequence[Labelled]) -> Chart:
    """The poles of every layer, as the run left them: a row of panels for each of several runs."""
    found = {one.label: _poles(one.run) for one in runs}
    panels = {_name(label, n, runs): p for label, ls in found.items() for n, p in ls.items()}
    varying = [one.label for one in runs if _note(one.run)]
    notes = (f"{_whose(varying, runs)}time-varying: frozen at some steps",) if varying else ()
    return replace(poles_chart(panels, _title("Poles", runs), columns=_columns(found)), notes=notes)


def _poles(run: Run) -> dict[str, np.ndarray]:
    found, folder = read_poles(run.folder.path), run.folder
    if found is None:
        raise UsageError(f"{folder.path}: no {POLES_FILE} in it; the run is {folder.state}")
    return {_spaced(name): values for name, values in found.items()}


def gain(runs: Sequence[Labelled]) -> Chart:
    """Gain against frequency: one panel for the layers of a single run, or one panel per layer."""
    found, notes = _systems(runs)
    declared = {
        group: {name: one.declared for name, one in ones.items()}
        for group, ones in _grouped(found, runs).items()
    }
    systems = _by_group(found, runs, lambda system: system)
    title = _title("Gain against frequency", runs)
    return _with_notes(frequency_chart(systems, declared, title), notes)


def hankel(runs: Sequence[Labelled]) -> Chart:
    """Hankel singular values, in panels as those of :func:`gain`."""
    found, notes = _systems(runs)
    values = _by_group(found, runs, lambda system: hankel_singular_values(system).numpy())
    return _with_notes(hankel_chart(values, _title("Hankel singular values", runs)), notes)


def kernel(runs: Sequence[Labelled]) -> Chart:
    """Impulse responses: a row of panels, one per layer, for each of several runs."""
    found, notes = _systems(runs)
    panels = {
        _name(label, one.name, runs): impulse_response(one.system)
        for label, layers in found.items()
        for one in layers
        if one.system is not None
    }
    title = _title("Impulse responses", runs)
    return _with_notes(impulse_chart(panels, title, _columns(found)), notes)


def impulse_response(system: DiscreteSystem) -> np.ndarray:
    """Markov parameters (H, L, p, m) until they have decayed; of an unstable system the first few.

    L is at most 1024."""
    size = system.heads * system.outputs * system.inputs
    longest = _LONGEST if system.is_stable() else _UNSTABLE_STEPS
    values = markov_parameters(system, max(_SHORTEST, min(longest, _MOST_NUMBERS // size))).numpy()
    sizes = np.abs(values).max((0, 2, 3))
    large = np.flatnonzero(sizes > _DECAYED * sizes.max(initial=0))
    end = int(large[-1]) + 1 if len(large) and np.isfinite(sizes).all() else len(sizes)
    return values[:, : max(_SHORTEST, int(1.1 * end))]


def training(runs: Sequence[Labelled]) -> Chart:
    """What was logged in training: losses, scores, gains and spectral radii of the layers."""
    found = {one.label: read_metrics(one.run.folder.path) for one in runs}
    lost = [one for one in runs if not found[one.label]]
    whole = len(lost) < len(runs)
    for one in lost:
        state = one.run.folder.state
        require(whole and state == "diverged", f"{one.run.folder.path}: {_NOTHING} ({state})")
    notes = [f"{one.label}: diverged before anything was logged" for one in lost]
    curves, declared = _curves(found), _declared(found)
    chart = training_chart(curves, _title("Training", runs), declared)
    return _with_notes(chart, notes)


_NOTHING = "nothing was logged in the training of this run"
_OF_THE_NETWORK = {"network/bound": "network bound (layers as computed)"}
#: Logged figures of a layer, in the order of their panels, and how the panels name them.
_OF_LAYERS = {
    "verified_gain": "verified gain",
    "frozen_gain": "frozen gain (no bound)",
    "spectral_radius": "spectral radius",
    "states_used": "states used (Hankel singular values)",
}


def _curves(found: Mapping[str, Mapping[str, Curve]]) -> dict[str, dict[str, Curve]]:
    """Metric -> label -> points; first losses and scores, then the network and the layers."""
    logged = dict.fromkeys(name for metrics in found.values() for name in metrics)
    first = [n for n in ("train/loss", "val/loss") if n in logged]
    scores = [n for n in logged if n.startswith("val/") and n not in first]
    names = {name: name.replace("/", " ") for name in [*first, *scores]}
    names |= {n: words for n, words in _OF_THE_NETWORK.items() if n in logged}
    for key, words in _OF_LAYERS.items():
        mine = sorted((n for n in logged if n.endswith(f"/{key}")), key=_layer_number)
        names |= {name: f"{_spaced(name.split('/')[0])}: {words}" for name in mine}
    return {
        words: {label: metrics[name] for label, metrics in found.items() if name in metrics}
        for name, words in names.items()
    }


def _declared(found: Mapping[str, Mapping[str, Curve]]) -> dict[str, dict[str, float]]:
    """The last declared gain of each layer, for the panel of its verified gain."""
    bounds: dict[str, dict[str, float]] = {}
    for label, metrics in found.items():
        for name, (_, values) in metrics.items():
            layer, _, key = name.partition("/")
            if key == "declared_gain":
                panel = f"{_spaced(layer)}: {_OF_LAYERS['verified_gain']}"
                bounds.setdefault(panel, {})[label] = values[-1]
    return bounds


def _layer_number(metric: str) -> int:
    digits = metric.split("/")[0].removeprefix("layer")
    return int(digits) if digits.isdecimal() else -1


def _spaced(name: str) -> str:
    """layer0 -> layer 0."""
    number = name.removeprefix("layer")
    return f"layer {number}" if number.isdecimal() else name


# --- systems of several runs --------------------------------------------------------------------


def _systems(runs: Sequence[Labelled]) -> tuple[dict[str, list[LayerSystem]], list[str]]:
    """The systems of each run that has a checkpoint, and what must be said of them."""
    found: dict[str, list[LayerSystem]] = {}
    notes: list[str] = []
    for one in runs:
        if len(runs) > 1 and _ended_at_once(one.run):
            notes.append(f"{one.label}: diverged before its first checkpoint")
            continue
        found[one.label] = layer_systems(load_trained(one.run.folder.path))
        about = f"{one.label}, " if len(runs) > 1 else ""
        notes += [about + note for note in _of_layers(found[one.label])]
    require(bool(found), "; ".join(notes))
    return found, notes


def _of_layers(layers: Sequence[LayerSystem]) -> list[str]:
    """The notes of layers; one that several share is given once."""
    whose: dict[str, list[str]] = {}
    for layer in layers:
        if layer.note:
            whose.setdefault(layer.note, []).append(layer.name)
    return [f"{', '.join(names)}: {note}" for note, names in whose.items()]


def _ended_at_once(run: Run) -> bool:
    result = run.folder.result
    folder = run.folder.path / "checkpoints"
    return bool(result and result.diverged) and not any(folder.glob("*.ckpt"))


def _grouped(
    found: Mapping[str, Sequence[LayerSystem]], runs: Sequence[Labelled]
) -> dict[str, dict[str, LayerSystem]]:
    """Panel -> line -> layer: the layers of one run in one panel, or the runs of each layer."""
    groups: dict[str, dict[str, LayerSystem]] = {}
    for label, layers in found.items():
        for layer in layers:
            if layer.system is not None:
                group, line = ("", layer.name) if len(runs) == 1 else (layer.name, label)
                groups.setdefault(group, {})[line] = layer
    return groups


def _by_group(
    found: Mapping[str, Sequence[LayerSystem]],
    runs: Sequence[Labelled],
    function: Callable[[DiscreteSystem], T],
) -> dict[str, dict[str, T]]:
    return {
        group: {line: function(one.system) for line, one in ones.items() if one.system is not None}
        for group, ones in _grouped(found, runs).items()
    }


# --- words ------------------------------------------------------------------------------------


def _title(what: str, runs: Sequence[Labelled]) -> str:
    return f"{what}: {runs[0].label}" if len(runs) == 1 else what


def _name(label: str, layer: str, runs: Sequence[Labelled]) -> str:
    return layer if len(runs) == 1 else f"{label}, {layer}"


def _columns(found: Mapping[str, Sequence[object] | Mapping[str, object]]) -> int | None:
    """A row per run, if there are several with the same number of layers."""
    counts = {len(layers) for layers in found.values()}
    total = sum(len(layers) for layers in found.values())
    message = f"{total} panels do not fit in one figure (at most {MOST_PANELS}): name fewer runs"
    require(total <= MOST_PANELS, message)
    return counts.pop() if len(found) > 1 and len(counts) == 1 else None


def _note(run: Run) -> str:
    result = run.folder.result
    return result.gain.note if result else ""


def _whose(some: Sequence[str], runs: Sequence[Labelled]) -> str:
    return "" if len(some) == len(runs) else f"{', '.join(some)}: "


def _with_notes(chart: Chart, notes: Sequence[str]) -> Chart:
    return replace(chart, notes=tuple(notes))
