"""What a run leaves for TensorBoard, read back from its events."""

from __future__ import annotations

from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.custom_scalar.layout_pb2 import Layout
from tensorboard.plugins.hparams import metadata

from ssmbench.config import fingerprint
from ssmbench.runs.execute import execute
from ssmbench.runs.run import Run
from ssmbench.training.board import drawing, ending, monitor
from ssmbench.training.board.drawing import Drawings
from ssmbench.training.board.events import image
from ssmbench.training.board.settings import columns_of_a_suite, of_a_suite, short_names
from tests.training.runs import rows, train

EVERYTHING = {"tensors": 0, "images": 0, "scalars": 0}
WATCHED = {"every_n_epochs": 1, "figures": 1.0}
LAYERS = {"figures/poles", "figures/gain", "figures/hankel", "figures/impulse"}


def events_of(folder: Path) -> EventAccumulator:
    events = EventAccumulator(str(folder / "tensorboard"), size_guidance=EVERYTHING)
    return events.Reload()


def text(events: EventAccumulator, tag: str) -> str:
    """The only text of this tag."""
    (point,) = events.Tensors(f"{tag}/text_summary")
    return point.tensor_proto.string_val[0].decode()


def steps(events: EventAccumulator, tag: str) -> list[int]:
    return [image.step for image in events.Images(tag)]


def test_a_run_leaves_layout_table_texts_and_figures(tiny, tmp_path, monkeypatch):
    monkeypatch.setattr(drawing, "_MOMENTS", 1)
    run = Run.of(tiny(analysis=WATCHED, model={"n_layers": 2}), tmp_path)
    assert execute(run) == "finished"
    events, result = events_of(run.folder.path), run.folder.result
    scalars = set(events.Tags()["scalars"])
    assert "epoch" not in scalars
    assert {"speed/steps_per_second", "network/bound"} <= scalars
    assert all("epoch" in row for row in rows(run.folder.path) if "val/loss" in row)
    assert [e.value for e in events.Scalars("result/test_score")] == [
        pytest.approx(result.scores.test)
    ]
    layer = result.gain.layers[1]
    (attacked,) = events.Scalars("best/layer1/attacked_gain")
    assert (attacked.step, attacked.value) == (16, pytest.approx(layer.attacked))
    assert not (run.folder.path / "tensorboard" / "hparams.yaml").exists()
    _check_layout(events, scalars)
    _check_table(events, run, scalars)
    assert "parametrization:\n    name: s4d" in text(events, "config")
    assert f"at most {result.gain.network.bound:.6g}" in text(events, "gains")
    assert {*LAYERS, "figures/worst_input"} == set(events.Tags()["images"])
    assert steps(events, "figures/poles") == [8, 16]
    assert steps(events, "figures/worst_input") == [16]


def _check_layout(events: EventAccumulator, scalars: set[str]) -> None:
    """Every chart has something to show."""
    import re

    (point,) = events.Tensors("custom_scalars__config__")
    layout = Layout.FromString(point.tensor_proto.string_val[0])
    charts = {chart.title: chart for group in layout.category for chart in group.chart}
    assert {"network", "layer 0", "layer 1", "spectral radius", "stability margin"} <= set(charts)
    for title, chart in charts.items():
        found = [tag for tag in scalars if any(re.match(t, tag) for t in chart.multiline.tag)]
        assert found, title


def _check_table(events: EventAccumulator, run: Run, scalars: set[str]) -> None:
    content = {
        tag: events.SummaryMetadata(tag).plugin_data.content
        for tag in events.Tags()["tensors"]
        if tag.startswith("_hparams_")
    }
    table = metadata.parse_experiment_plugin_data(content[metadata.EXPERIMENT_TAG])
    row = metadata.parse_session_start_info_plugin_data(content[metadata.SESSION_START_INFO_TAG])
    assert row.group_name == f"s4d-zoh-s0-{run.fingerprint}"
    assert row.hparams["d_model"].number_value == 2
    assert row.hparams["seed"].string_value == "0"
    assert row.hparams["parametrization"].string_value == "s4d"
    assert set(row.hparams) <= {column.name for column in table.hparam_infos}
    missing = {m.name.tag for m in table.metric_infos} - scalars
    assert missing == {"result/declared_gain", "result/network_declared"}


def test_a_run_without_a_certificate_says_why(tiny, tmp_path):
    model = {"norm": "layer", "residual": "add"}
    run = Run.of(tiny(analysis={"figures": 0}, model=model), tmp_path)
    execute(run)
    events, network = events_of(run.folder.path), run.folder.result.gain.network
    assert network.reason
    assert f"**No certificate of the network's gain**: {network.reason}" in text(events, "gains")
    assert events.Tags()["images"] == []


def test_a_run_that_diverges_says_so(tiny, tmp_path, lose_weights):
    lose_weights(3)
    run = Run.of(tiny(), tmp_path)
    assert execute(run) == "diverged"
    events = events_of(run.folder.path)
    assert [e.value for e in events.Scalars("result/diverged")] == [1]
    assert "a weight is not finite" in text(events, "gains")
    assert "last/layer0/attacked_gain" in events.Tags()["scalars"]


def test_a_resumed_run_repeats_nothing(mortal, tmp_path, monkeypatch):
    """Killed in the second half, after figures; and killed again when all was written but the
    result."""
    for module in (monitor, ending):
        monkeypatch.setattr(module, "layer_images", lambda *_: iter([image("poles", b"", 1, 1)]))
    config = mortal(analysis=WATCHED)
    monkeypatch.setenv("TOY_DIE_AT", "13")
    run = Run.of(config, tmp_path)
    assert execute(run) == "failed"
    monkeypatch.delenv("TOY_DIE_AT")
    assert execute(run) == "finished"
    (run.folder.path / "result.json").unlink()
    assert execute(run) == "finished"
    events = events_of(run.folder.path)
    assert text(events, "config")
    assert text(events, "gains")
    assert len(events.Tensors("custom_scalars__config__")) == 1
    assert steps(events, "poles") == [4, 8, 12, 16]
    assert [e.step for e in events.Scalars("result/test_score")] == [16]
    assert [e.step for e in events.Scalars("speed/steps_per_second")] == [4, 8, 12, 16]


def test_figures_that_take_long_are_left_to_the_end(tiny, tmp_path):
    trained = train(tiny(), tmp_path)
    assert events_of(tmp_path).Tags()["images"] == []
    assert len(trained.drawings.poles) == 3, "kept, to be drawn at the end"


def test_drawing_keeps_to_its_share_of_the_time(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])

    def images():
        clock[0] += 3.0
        yield "image"

    drawings = Drawings(0.1)
    clock[0] = 20.0
    assert drawings.drawn(images()) == [], "1.5 s now and at the end are more than 2 s"
    assert drawings.drawn(images(), at_end=True) == ["image"]
    clock[0] = 80.0
    assert drawings.drawn(images()) == [], "3 s, and now 3 s each"
    clock[0] = 90.0
    assert drawings.drawn(images()) == ["image"]
    assert Drawings(0.0).drawn(images(), at_end=True) == []


def test_figures_are_no_part_of_a_run_s_identity(tiny):
    assert fingerprint(tiny()) == fingerprint(tiny(analysis={"figures": 0}))


def test_a_figure_that_fails_ends_no_run(tiny, tmp_path, monkeypatch, capfd):
    def failing(*_):
        raise ValueError("no such colour")

    monkeypatch.setattr("ssmbench.figures.hankel.hankel_figure", failing)
    run = Run.of(tiny(analysis={"figures": 1.0}, trainer={"max_epochs": 1}), tmp_path)
    assert execute(run) == "finished"
    assert "warning: figures for TensorBoard: ValueError: no such colour" in capfd.readouterr().err
    assert set(events_of(run.folder.path).Tags()["images"]) == {"figures/poles", "figures/gain"}


# --- columns of the table -------------------------------------------------------------------------


def test_settings_of_a_suite_are_those_that_vary():
    first = {"seed": 0, "optimizer": {"lr": 0.1, "weight_decay": 0.0}, "batch_size": 8}
    second = {"seed": 1, "optimizer": {"lr": 0.2, "weight_decay": 0.0}, "batch_size": 8, "x": 1}
    assert of_a_suite([first, second]) == [{"optimizer.lr": 0.1}, {"optimizer.lr": 0.2}]


def test_names_of_columns_are_as_short_as_they_can_be():
    keys = ["optimizer.lr", "task.size", "model.encoder.size", "model.norm.name"]
    assert short_names(keys) == {
        "optimizer.lr": "lr",
        "task.size": "task.size",
        "model.encoder.size": "encoder.size",
        "model.norm.name": "norm",
    }


def test_columns_have_what_the_page_needs_to_filter_them():
    runs = [{"task": "a", "lr": 0.1, "mix": True, "seed": 0}, {"task": "b", "lr": 1, "mix": False}]
    columns = {column.name: column for column in columns_of_a_suite(runs)}
    assert set(columns) == {"task", "lr", "mix"}
    assert list(columns["task"].domain_discrete) == ["a", "b"]
    assert list(columns["mix"].domain_discrete) == [False, True]
    assert not columns["lr"].HasField("domain_discrete")
