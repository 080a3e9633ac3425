"""The choice among backends: by what each can run and how much it is preferred, by no name."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch

from ssmbench import registry
from ssmbench.errors import UsageError
from ssmbench.scans.auto import AutoScan
from ssmbench.scans.base import ScanBackend, ranked_backends
from ssmbench.scans.chunked import ChunkedScan
from ssmbench.systems import DiscreteDense
from ssmbench.testing import example_systems, example_time_varying_systems

DEVICES = ["cpu", "cuda", "mps", "meta"]
#: What ``auto`` tried, in this order, when it had a list of names.
FORMER_ORDER = ("triton", "cpu", "chunked")

PLUGIN = '''
"""A scan in one file: the chunked one under another name, for dense systems, liked best."""

from ssmbench.registry import scans
from ssmbench.scans.chunked import ChunkedScan
from ssmbench.systems import DiscreteDense


@scans.register("dense_only")
class DenseOnly(ChunkedScan):
    """Dense systems."""

    preference = 99

    def unsupported_reason(self, system, device):
        return None if isinstance(system, DiscreteDense) else "it scans dense systems only"

    def linear_scan_unsupported_reason(self, b):
        return "it scans dense systems only"
'''

CHOICES = """
import sys, torch
from ssmbench import doctor, registry
from ssmbench.testing import example_systems
registry.add_plugin_paths(sys.argv[1:])
auto = registry.scans.get("auto").build()
for system in example_systems():
    chosen = type(auto.choose(system, torch.device("cpu"))).__name__
    print(type(system).__name__, chosen)
print(next(check.found for check in doctor.check_installation() if check.name == "scan dense_only"))
"""


@pytest.fixture
def plugin(tmp_path):
    file = tmp_path / "dense_only.py"
    file.write_text(PLUGIN)
    return str(file)


def run(*arguments: str, cwd) -> str:
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, cwd=cwd, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def variants(system):
    """In both precisions, and in half."""
    yield from (system, system.double())
    if not any(tensor.is_complex() for tensor in system.tensors().values()):
        yield system.map(lambda tensor: tensor.bfloat16())


@pytest.mark.parametrize("device", DEVICES)
def test_built_in_backends_are_chosen_as_by_the_former_list(device):
    auto, device = registry.scans.get("auto").build(), torch.device(device)
    former = {name: registry.scans.get(name).build() for name in FORMER_ORDER}
    for example in [*example_systems(), *example_time_varying_systems(1, 3)]:
        for system in variants(example):
            able = (b for b in former.values() if b.unsupported_reason(system, device) is None)
            assert type(auto.choose(system, device)) is type(next(able))


def test_the_definition_and_the_choice_itself_are_never_chosen():
    assert {"reference", "auto"}.isdisjoint(ranked_backends())
    assert list(ranked_backends()) == list(FORMER_ORDER)


def test_no_backend_able_is_an_error_with_every_reason(monkeypatch):
    class Refuses(ScanBackend):
        def unsupported_reason(self, system, device):
            return f"it refuses {type(system).__name__}"

        def __call__(self, system, u, x0=None):
            raise AssertionError

    backends = {"refuses": Refuses(registry.NoOptions())}
    monkeypatch.setattr("ssmbench.scans.auto.ranked_backends", lambda: backends)
    auto = AutoScan(registry.NoOptions())
    system = next(s for s in example_systems() if isinstance(s, DiscreteDense))
    with pytest.raises(UsageError, match=r"\(refuses: it refuses DiscreteDense\)"):
        auto.choose(system, torch.device("cpu"))


def test_a_scan_from_one_file_is_chosen_where_it_is_preferred(plugin, tmp_path):
    *lines, examined = run("-c", CHOICES, plugin, cwd=tmp_path).splitlines()
    pairs = {tuple(line.split()) for line in lines}
    assert pairs == {("DiscreteDense", "DenseOnly"), ("DiscreteDiagonal", "CPUScan")}
    assert examined == "not usable here: it scans dense systems only"


def test_a_scan_from_one_file_is_benchmarked(plugin, tmp_path):
    bench = ("bench", "scans", "--quick", "--rounds", "1", "--json")
    rows = json.loads(run("-m", "ssmbench", "--plugins", plugin, *bench, cwd=tmp_path))
    of_plugin = [row for row in rows if row["backend"] == "dense_only"]
    operations = {row["operation"] for row in of_plugin}
    assert operations == {"dense layer", "dense single-channel bank"}
    assert all(error < 1e-4 for row in of_plugin for error in row["errors"].values())


def test_a_fused_scan_is_chosen_among_the_backends_that_run_its_system(monkeypatch):
    class DenseOnly(ChunkedScan):
        system_types = DiscreteDense

    class Fuses(ChunkedScan):
        def fuses(self, system, u):
            return True

        def scan_sampled(self, system, u, x0=None):
            return u, u

    backends = {"dense": DenseOnly(registry.NoOptions()), "fuses": Fuses(registry.NoOptions())}
    monkeypatch.setattr("ssmbench.scans.auto.ranked_backends", lambda: backends)
    u, auto = torch.zeros(2, 3, 1, 1), AutoScan(registry.NoOptions())
    system = example_time_varying_systems(2, 3)[0]
    assert auto.samples(system, u)
    assert auto.scan_sampled(system, u)[0] is u
