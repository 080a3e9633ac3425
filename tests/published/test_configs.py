"""The published networks in configs/published: each is built, and has the published size."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

from ssmbench.build.network import build_network
from ssmbench.build.optimizer import build_optimizer
from ssmbench.build.task import build_task
from ssmbench.bundled import bundled_configs, config_file, folder
from ssmbench.config import read_yaml, typed
from ssmbench.library.configs import read_run
from ssmbench.suite.grid import load_cell
from tests.published.archive import write_archive

FILES = sorted((folder() / "published").glob("*.yaml"))


def sizes(file) -> Mapping[str, Any]:
    """The stated number of parameters of each network, by its label; None where there is none."""
    content = read_yaml(file)
    stated = content["published"]["parameters"]
    return {
        f"{task}/{variant}": stated.get(f"{task}/{variant}", stated.get(task))
        for task in content["tasks"]
        for variant in content["variants"]
    }


NETWORKS = [(file.stem, label) for file in FILES for label in sizes(file)]


@pytest.fixture(autouse=True)
def without_data(monkeypatch, tmp_path):
    """No data but small ones of the archive, whose tasks have the sizes of their files."""
    write_archive(tmp_path)
    monkeypatch.setenv("SSMBENCH_DATA", str(tmp_path))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.stem)
def test_a_file_states_paper_source_and_the_size_of_each_network(file):
    content = read_yaml(file)
    stated = content["published"]
    assert {"paper", "source", "parameters"} <= set(stated)
    assert {label.partition("/")[0] for label in stated["parameters"]} <= set(content["tasks"])
    assert None not in sizes(file).values()
    assert bundled_configs("suites")[file.stem] == file


@pytest.mark.parametrize(("suite", "label"), NETWORKS)
def test_a_network_has_the_published_number_of_parameters(suite, label):
    file = config_file(suite, "suites")
    run = typed(load_cell(file, label).config)
    network = build_network(run, build_task(run).sizes)
    build_optimizer(network, run.optimizer)
    assert network.parameter_count() == sizes(file)[label]


def test_a_network_is_a_run_config_by_its_suite_and_label():
    run = read_run("s4d_minimal:scifar/S4D-Lin", ["model.n_layers=2"])
    assert run.config["model"]["n_layers"] == 2
    assert run.config["task"]["name"] == "scifar"
    assert run.label == "scifar/S4D-Lin-zoh-s0"


# --- learning rate and weight decay of each parameter ---------------------------------------------

SSM = "blocks.0.layer.parametrization."
SECOND_C = "blocks.0.reverse_layer.parametrization.C"
#: Of some parameters of each network: as train.py, src/utils/optim_groups.py and kernels/kernel.py
#: of state-spaces/s4 at e757cef give them. A layer's ``lr: 0.001`` is that of C too, with decay.
RATES = {
    ("s4", "image/S4-LegS"): {
        **{f"{SSM}{name}": (0.001, 0) for name in ("log_dt", "log_decay", "frequency", "P", "B")},
        **{f"{SSM}C": (0.001, 0.05), SECOND_C: (0.001, 0.05), f"{SSM}D": (0.01, 0.05)},
        **{
            f"blocks.0.nonlinearity.linear.{k}": (0.01, w)
            for k, w in (("weight", 0.05), ("bias", 0))
        },
        **{"blocks.0.norm.weight": (0.01, 0), "blocks.0.norm.bias": (0.01, 0)},
        **{
            f"{end}.{k}": (0.01, 0.05) for end in ("encoder", "decoder") for k in ("weight", "bias")
        },
    },
    ("s4d", "retrieval/S4D-Inv"): {
        **{f"{SSM}{name}": (0.001, 0) for name in ("log_decay", "frequency", "B")},
        **{f"{SSM}log_dt": (0.01, 0), SECOND_C: (0.01, 0.05), f"{SSM}D": (0.01, 0.05)},
        **{"encoder.weight": (0.01, 0.05), "final_norm.weight": (0.01, 0)},
        **{"decoder.hidden.bias": (0.01, 0.05), "decoder.readout.bias": (0.01, 0.05)},
    },
    ("s4d", "pathx/S4D-LegS"): {
        **{f"{SSM}{name}": (0.0005, 0) for name in ("log_dt", "log_decay", "B")},
        **{f"{SSM}C": (0.0005, 0.05), f"{SSM}D": (0.001, 0.05), "decoder.bias": (0.001, 0.05)},
    },
    ("s4d_minimal", "scifar/S4D-Lin"): {
        **{f"{SSM}{name}": (0.001, 0) for name in ("log_dt", "log_decay", "frequency")},
        **{f"{SSM}C": (0.01, 0.01), f"{SSM}D": (0.01, 0.01), "blocks.0.norm.weight": (0.01, 0)},
    },
}


@pytest.mark.parametrize(("suite", "label"), RATES)
def test_rates_and_decays_are_the_published_ones(suite, label):
    run = typed(load_cell(config_file(suite, "suites"), label, {"model": {"n_layers": 1}}).config)
    network = build_network(run, build_task(run).sizes)
    groups = build_optimizer(network, run.optimizer).param_groups
    found = {id(p): (g["lr"], g["weight_decay"]) for g in groups for p in g["params"]}
    named = dict(network.named_parameters())
    expected = RATES[suite, label]
    assert {name: found[id(named[name])] for name in expected} == expected
