"""The outcome of a run for TensorBoard: final figures, their place in the table of the page
"HParams", and in words what the network's gain is known to be. Loads no torch."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from ssmbench.results import Gains, LayerGains, Result
from ssmbench.training.board.events import event_file, scalar, text
from ssmbench.training.board.messages import Column, Summary, core, plugin
from ssmbench.training.board.settings import Settings, session_values

#: Columns of the table, with the tags that they are of; the page shows the first five at once.
METRICS = {
    "test score": "result/test_score",
    "network bound": "result/network_bound",
    "network attacked": "result/network_attacked",
    "verified": "result/verified_gain",
    "steps/s": "result/steps_per_second",
    "declared": "result/declared_gain",
    "attacked": "result/attacked_gain",
    "network declared": "result/network_declared",
    "validation score": "result/validation_score",
    "diverged": "result/diverged",
}


def outcome_file(
    result: Result,
    name: str,
    settings: Settings,
    columns: Sequence[Column],
    wall: float,
) -> bytes:
    """The content of the file of events; see :func:`summaries`."""
    return event_file(summaries(result, name, settings, columns), result.steps or 0, wall)


def summaries(
    result: Result, name: str, settings: Settings, columns: Sequence[Column]
) -> Iterator[Summary]:
    """The final figures, the run's row in the table under this ``name``, and the gains in words.

    TensorBoard joins rows of one name, so each run needs its own.
    """
    yield _table(columns)
    yield _row(name, settings, columns)
    for tag, value in figures(result).items():
        yield scalar(tag, value)
    yield text("gains", gains_in_words(result))
    yield _end(result)


def figures(result: Result) -> dict[str, float]:
    """The final figures by their tags. Those of layers are of the weights with the best validation
    score, or, where the run diverged, of the last ones."""
    gain, network, scores = result.gain, result.gain.network, result.scores
    found = {
        "result/test_score": scores and scores.test,
        "result/validation_score": scores and scores.val,
        "result/network_declared": network.declared,
        "result/network_bound": network.bound,
        "result/network_attacked": network.attacked,
        "result/declared_gain": gain.declared,
        "result/verified_gain": gain.verified,
        "result/attacked_gain": gain.attacked,
        "result/steps_per_second": result.steps_per_second,
        "result/diverged": float(result.diverged),
    }
    weights = "last" if result.diverged else "best"
    for index, layer in enumerate(gain.layers):
        found |= {f"{weights}/layer{index}/{k}": v for k, v in _of_layer(layer).items()}
    return {tag: float(value) for tag, value in found.items() if value is not None}


def _of_layer(layer: LayerGains) -> dict[str, float | None]:
    return {
        "declared_gain": layer.declared,
        "verified_gain": layer.verified,
        "frozen_gain": layer.frozen,
        "attacked_gain": layer.attacked,
    }


def gains_in_words(result: Result) -> str:
    """The network's gain, with the reason where it has no bound; every layer; what is not proved,
    and what contradicts a declaration. Markdown."""
    gain = result.gain
    parts = [_network_in_words(gain), _layers_in_words(gain.layers)]
    parts += _list("Not proved, so estimates", gain.unproved)
    parts += _list("Violations of declared >= verified >= attacked", gain.violations)
    notes = [gain.note, *(layer.note for layer in gain.layers), *result.notes, *result.warnings]
    parts += _list("Notes", dict.fromkeys(filter(None, notes)))
    return "\n\n".join(parts)


def _network_in_words(gain: Gains) -> str:
    network = gain.network
    if math.isfinite(network.bound):
        first = f"**The network's gain is at most {network.bound:.6g}** (certificate)."
    else:
        first = f"**No certificate of the network's gain**: {network.reason or 'no finite bound'}."
    declared = "" if network.declared is None else f" Declared: {network.declared:.6g}."
    found = f" The adversary found {network.attacked:.6g}."
    return f"{first}{declared}{found} Gains are from {network.gains_from} to prediction."


def _layers_in_words(layers: Iterable[LayerGains]) -> str:
    lines = ["| layer | declared | verified | attacked | spectral radius |"]
    lines += ["| --- | ---: | ---: | ---: | ---: |"]
    for index, layer in enumerate(layers):
        cells = (layer.declared, layer.verified, layer.attacked)
        row = [str(index), *map(_number, cells), f"{layer.spectral_radius:.8g}"]
        lines.append(f"| {' | '.join(row)} |")
    return "\n".join(lines)


def _number(value: float | None) -> str:
    return "none" if value is None else f"{value:.6g}"


def _list(title: str, sentences: Iterable[str]) -> list[str]:
    lines = [f"* {sentence}" for sentence in sentences]
    return ["\n".join([f"**{title}**", "", *lines])] if lines else []


def _table(columns: Sequence[Column]) -> Summary:
    api_pb2 = plugin("hparams.api_pb2")
    metrics = [
        api_pb2.MetricInfo(name=api_pb2.MetricName(tag=tag), display_name=title)
        for title, tag in METRICS.items()
    ]
    table = api_pb2.Experiment(hparam_infos=columns, metric_infos=metrics)
    return _plugin_summary("EXPERIMENT_TAG", experiment=table)


def _row(name: str, settings: Settings, columns: Iterable[Column]) -> Summary:
    start = plugin("hparams.plugin_data_pb2").SessionStartInfo(group_name=name)
    for key, value in session_values(settings, columns).items():
        start.hparams[key].CopyFrom(value)
    return _plugin_summary("SESSION_START_INFO_TAG", session_start_info=start)


def _end(result: Result) -> Summary:
    api_pb2 = plugin("hparams.api_pb2")
    status = api_pb2.STATUS_FAILURE if result.diverged else api_pb2.STATUS_SUCCESS
    end = plugin("hparams.plugin_data_pb2").SessionEndInfo(status=status)
    return _plugin_summary("SESSION_END_INFO_TAG", session_end_info=end)


def _plugin_summary(tag: str, **content: Any) -> Summary:
    messages, metadata = core("summary_pb2").Summary, plugin("hparams.metadata")
    data = plugin("hparams.plugin_data_pb2").HParamsPluginData(**content)
    about = metadata.create_summary_metadata(data)
    value = messages.Value(tag=getattr(metadata, tag), metadata=about, tensor=metadata.NULL_TENSOR)
    return messages(value=[value])
