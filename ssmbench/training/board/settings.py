"""The settings of runs in the columns of TensorBoard's page "HParams".

A column is a setting; few are chosen: of a suite's runs those that vary, of a run by itself the
same for every run. Loads no torch.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any

from ssmbench import registry
from ssmbench.config import leaves
from ssmbench.training.board.messages import Column, plugin, struct

#: Settings of a run by the names of their columns.
Settings = Mapping[str, Any]
#: The columns of a run by itself, with their keys in its config.
_OF_A_RUN = {
    "task": "task.name",
    "parametrization": "model.parametrization.name",
    "discretizer": "model.discretizer.name",
    "d_model": "model.d_model",
    "n_layers": "model.n_layers",
    "d_state": "model.parametrization.d_state",
    "lr": "optimizer.lr",
    "seed": "seed",
}
_CHOICES = {
    "task": registry.tasks,
    "parametrization": registry.parametrizations,
    "discretizer": registry.discretizers,
}
#: Numbers that are names: TensorBoard would show a seed as 0.0000.
_NAMES = ("seed",)
#: Columns that a reader can survey, and those that TensorBoard shows before one asks for others: it
#: sorts them by name, those that are marked as differing first.
_MOST, _SHOWN = 12, 5
#: Keys that a suite's labels say; and those that identify a file or concern no training.
_LABELLED = ("variant", "seed", "task.name", "model.parametrization.name", "model.discretizer.name")
_NO_SETTINGS = ("data_digest", "task.data_dir", "sources", "analysis.")


def of_a_run(config: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of a run by itself, without those that it does not have."""
    given = dict(leaves(config))
    return {name: given[key] for name, key in _OF_A_RUN.items() if given.get(key) is not None}


def of_a_suite(configs: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Of each config, the leaves that all configs have and not all agree in, by dotted key; without
    those that the labels in a suite say."""
    flat = [dict(leaves(config)) for config in configs]
    common = [key for key in (flat[0] if flat else {}) if all(key in one for one in flat)]
    varying = [k for k in common if _is_setting(k) and len({repr(one[k]) for one in flat}) > 1]
    return [{key: one[key] for key in varying} for one in flat]


def _is_setting(key: str) -> bool:
    return key not in _LABELLED and not key.startswith(_NO_SETTINGS)


def short_names(keys: Iterable[str]) -> dict[str, str]:
    """A name for each dotted key: its end, as much of it as tells it apart; "name" is no end."""
    listed = list(keys)
    names, parts = {}, 1
    while listed and parts < 10:
        ends = {key: _end(key, parts) for key in listed}
        several = Counter(ends.values())
        names |= {key: end for key, end in ends.items() if several[end] == 1}
        listed, parts = [key for key in listed if key not in names], parts + 1
    return names


def _end(key: str, parts: int) -> str:
    return ".".join(key.removesuffix(".name").split(".")[-parts:])


def columns_of_a_run() -> list[Column]:
    """The columns of a run by itself: the same for every run, since TensorBoard reads them from
    any of those that it shows."""
    return [
        _column(name, _CHOICES[name].names() if name in _CHOICES else [0], differs=False)
        for name in _OF_A_RUN
    ]


def columns_of_a_suite(runs: Sequence[Settings]) -> list[Column]:
    """A column for each setting in which the runs of a suite differ, or for all of one run's; the
    first of them, of which TensorBoard shows the first five at once."""
    names = dict.fromkeys(name for run in runs for name in run)
    values = {name: [run[name] for run in runs if run.get(name) is not None] for name in names}
    differing = [name for name in names if len(set(map(repr, values[name]))) > 1]
    chosen = differing or [name for name in names if values[name]]
    shown = chosen[:_SHOWN]
    return [_column(name, values[name], differs=name in shown) for name in chosen[:_MOST]]


def _column(name: str, values: Collection[Any], *, differs: bool) -> Column:
    """A string needs its possible values: TensorBoard's page fails without."""
    api_pb2 = plugin("hparams.api_pb2")
    info = api_pb2.HParamInfo(name=name, differs=differs)
    if all(isinstance(value, bool) for value in values):
        info.type = api_pb2.DATA_TYPE_BOOL
        domain: list[Any] = [False, True]
    elif name not in _NAMES and all(map(_is_number, values)):
        info.type = api_pb2.DATA_TYPE_FLOAT64
        domain = []
    else:
        info.type = api_pb2.DATA_TYPE_STRING
        domain = sorted({str(value) for value in values})
    if domain:
        listed = [_value(value) for value in domain]
        info.domain_discrete.CopyFrom(struct().ListValue(values=listed))
    return info


def session_values(settings: Settings, columns: Iterable[Column]) -> dict[str, Any]:
    """The values of a run in these columns, as TensorBoard stores them."""
    string = plugin("hparams.api_pb2").DATA_TYPE_STRING
    texts = {column.name: column.type == string for column in columns}
    present = {name: settings[name] for name in texts if settings.get(name) is not None}
    return {name: _value(str(v) if texts[name] else v) for name, v in present.items()}


def _value(value: Any) -> Any:
    if isinstance(value, bool):
        return struct().Value(bool_value=value)
    if _is_number(value):
        return struct().Value(number_value=value)
    return struct().Value(string_value=str(value))


def _is_number(value: Any) -> bool:
    """Whether it is one that JSON, and so TensorBoard's page, has."""
    return isinstance(value, int | float) and math.isfinite(value)
