"""The charts of TensorBoard's page "Custom scalars": figures that belong together in one chart."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ssmbench.training.board.messages import Summary, core, plugin

#: Networks of more layers have one chart for all of them.
_MOST_LAYERS = 12
#: Before the names of figures of the weights that are tested, or of those at the end of a run that
#: diverged.
_ENDS = "((best|last)/)?"

#: Titles of charts and the tags in each, as regular expressions, by the title of their category.
Charts = Mapping[str, Mapping[str, Sequence[str]]]


def layout(score: str, layers: int) -> Summary:
    """The layout for runs with this ``score`` (a metric's name) and so many SSM layers.

    TensorBoard joins the layouts of several runs by their titles.
    """
    messages, about = plugin("custom_scalar.layout_pb2"), plugin("custom_scalar.metadata")
    categories = [
        messages.Category(
            title=title, chart=[_chart(name, tags) for name, tags in charts_of.items()]
        )
        for title, charts_of in charts(score, layers).items()
    ]
    content = messages.Layout(category=categories).SerializeToString()
    return _tensor(about.CONFIG_SUMMARY_TAG, about.PLUGIN_NAME, content)


def charts(score: str, layers: int) -> Charts:
    """The charts by category. Tags are matched from their beginning, by regular expressions."""
    name = re.escape(score)
    return {
        "Score and loss": {
            f"{score} (validation, test)": [f"val/{name}$", f"test/{name}$"],
            "loss (training, validation)": ["train/loss$", "val/loss$"],
        },
        "Gain: declared, verified, attacked": {
            "network": ["network/bound$", r"result/network_(declared|bound|attacked)$"],
            **_layer_charts(layers),
        },
        "Stability": {
            "spectral radius": [r"layer\d+/spectral_radius$"],
            "stability margin": [r"layer\d+/margin$"],
        },
        "Hankel singular values": {
            "states used": [r"layer\d+/states_used$"],
            "sum": [r"layer\d+/hankel_sum$"],
        },
        "Speed": {"optimizer steps per second": ["speed/steps_per_second$"]},
    }


def _layer_charts(layers: int) -> dict[str, list[str]]:
    figures = "(declared|verified|attacked|frozen)_gain$"
    if layers > _MOST_LAYERS:
        return {"all layers": [rf"{_ENDS}layer\d+/{figures}"]}
    return {f"layer {i}": [f"{_ENDS}layer{i}/{figures}"] for i in range(layers)}


def _chart(title: str, tags: Iterable[str]) -> Any:
    messages = plugin("custom_scalar.layout_pb2")
    return messages.Chart(title=title, multiline=messages.MultilineChartContent(tag=list(tags)))


def _tensor(tag: str, name: str, content: bytes) -> Summary:
    messages = core("summary_pb2")
    data = messages.SummaryMetadata.PluginData(plugin_name=name)
    about = messages.SummaryMetadata(plugin_data=data)
    tensor = core("tensor_pb2").TensorProto(dtype=core("types_pb2").DT_STRING, string_val=[content])
    return messages.Summary(value=[messages.Summary.Value(tag=tag, metadata=about, tensor=tensor)])
