"""The package nonlinear_benchmarks: its files are found, its records are ours, nothing is fetched
unasked."""

import importlib.util
import sys
import urllib.request
import zipfile

import numpy as np
import pytest
import torch

from ssmbench.errors import UsageError
from ssmbench.library.data import data_of, fetch_data
from ssmbench.registry import tasks
from ssmbench.tasks import benchmark_package
from ssmbench.tasks.sysid.cascaded_tanks import CascadedTanksConfig, Records
from ssmbench.tasks.sysid.nonlinear_benchmarks import NonlinearBenchmarksConfig
from ssmbench.tasks.sysid.published import write_mat

needs_package = pytest.mark.skipif(
    importlib.util.find_spec("nonlinear_benchmarks") is None,
    reason="the package nonlinear_benchmarks is not installed",
)
LENGTHS = {"window": 50, "stride": 25, "washout": 5, "validation": 60, "fir_taps": 3}


@pytest.fixture
def kept(tmp_path, monkeypatch):
    """A folder in the package's layout, which is taken for that of its downloads."""
    random = np.random.default_rng(0)

    def noise(samples, *names, size=None):
        return {name: random.normal(size=size or samples) for name in names}

    write_mat(tmp_path / "CED/DATAUNIF.MAT", noise(500, "u11", "z11", "u12", "z12"))
    for file in ("DATA_EMPS", "DATA_EMPS_PULSES"):
        clock = {"t": np.arange(300) / 1000}
        write_mat(tmp_path / f"EMPS/{file}.mat", noise(300, "qm", "qg", "vir") | clock)
    tanks = noise(1024, "uEst", "yEst", "uVal", "yVal") | {"Ts": 4.0}
    write_mat(tmp_path / "Cascaded_Tanks/CascadedTanksFiles/dataBenchmark.mat", tanks)
    wiener = noise(188_000, "uBenchMark", "yBenchMark") | {"fs": 51_200.0}
    write_mat(tmp_path / "WienerHammerBenchMark/WienerHammerBenchMark.mat", wiener)
    silver = noise(131_072, "V1", "V2", size=(1, 131_072))
    write_mat(tmp_path / "Silverbox/SilverboxFiles/SNLS80mV.mat", silver)
    flight = {"Force": (1, 200), "Voltage": (1, 200), "Acceleration": (3, 200)}
    for level in range(1, 8):
        ending = "_Validation" if level in (2, 4, 6) else ""
        content = {name: random.normal(size=size) for name, size in flight.items()}
        folder = tmp_path / "F16/F16GVT_Files/BenchmarkData"
        write_mat(folder / f"F16Data_FullMSine_Level{level}{ending}.mat", content | {"Fs": 400.0})
    monkeypatch.setattr(benchmark_package, "_data_folder", lambda: tmp_path)
    return tmp_path


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """A download ends the test."""

    def refuse(*_, **__):
        raise AssertionError("a download was tried")

    monkeypatch.setattr(urllib.request, "urlretrieve", refuse)
    monkeypatch.setattr("requests.Session.get", refuse)


def built(name, **options):
    entry = tasks.get(name)
    return entry.build(entry.config(**options), batch_size=4, seed=0)


def errors_of_zero(task):
    """The RMSE of the constant prediction 0 in physical units, of every test set."""
    task.setup()
    zero = torch.from_numpy(-task._outputs.mean / task._outputs.deviation).float()

    def predict(batch):
        return zero.expand(*batch.u.shape[:2], -1)

    return [task.score_of(predict, split) for split in ("test", *task.further_tests())]


#: Of each benchmark, our task for it, and the package's test records in the order of its tests.
SAME = {
    "CED": ("ced", {}, [0, 1]),
    "EMPS": ("emps", {"window": 50, "washout": 5, "validation": 60}, [0]),
    "WienerHammerBenchMark": ("wiener_hammerstein", {"stride": 4096, "fir_taps": 3}, [0]),
    "Cascaded_Tanks": ("cascaded_tanks", {"records": Records.published, "test_washout": 50}, [0]),
}


@needs_package
@pytest.mark.parametrize("benchmark", SAME)
def test_our_tasks_and_the_package_score_the_same_samples(kept, benchmark):
    import nonlinear_benchmarks
    from nonlinear_benchmarks.error_metrics import RMSE

    name, options, order = SAME[benchmark]
    assert data_of(name).state == "found"
    ours = errors_of_zero(built(name, **options))
    theirs = errors_of_zero(built("nonlinear_benchmarks", benchmark=benchmark, **LENGTHS))
    np.testing.assert_allclose(ours, theirs, rtol=1e-5)
    with benchmark_package._without_downloads(
        benchmark_package.loader(benchmark), benchmark, [kept]
    ):
        _, test = getattr(nonlinear_benchmarks, benchmark)()
    test = test if isinstance(test, tuple) else (test,)
    scale = 1000 if benchmark in ("EMPS", "WienerHammerBenchMark") else 1
    expected = [scale * float(RMSE(test[k], 0 * test[k].y)) for k in order]
    np.testing.assert_allclose(theirs, expected, rtol=1e-5)


@needs_package
def test_several_tests_and_several_channels(kept):
    silver = built("nonlinear_benchmarks", benchmark="Silverbox", **LENGTHS)
    assert silver.unit == "mV"
    assert silver.further_tests() == ("test SB multisine", "test SB arrow no extrapolation")
    assert silver.split("test").u.shape[1] - silver.split("test").target.shape[1] == 50
    assert built("silverbox", stride=4096, fir_taps=3).data_files()[0].suffix == ".mat"
    flight = built("nonlinear_benchmarks", benchmark="F16", **LENGTHS)
    assert len(flight.data_files()) == 7
    assert len(flight.further_tests()) == 2
    assert flight.source == "F16 of the package nonlinear_benchmarks"
    assert len(built("f16").data_files()) == 7


@needs_package
def test_nothing_is_downloaded_unasked(tmp_path, monkeypatch):
    monkeypatch.setattr(benchmark_package, "_data_folder", lambda: tmp_path / "none")
    with pytest.raises(UsageError, match=r"no folder EMPS/ with the files of EMPS"):
        built("nonlinear_benchmarks").setup()
    assert not list(tmp_path.iterdir())
    with pytest.raises(UsageError, match=r"no benchmark 'Silverbx'; did you mean 'Silverbox'"):
        built("nonlinear_benchmarks", benchmark="Silverbx").setup()
    (tmp_path / "EMPS").mkdir()
    with pytest.raises(UsageError, match=r"EMPS: cannot be read .FileNotFoundError"):
        built("nonlinear_benchmarks", data_dir=str(tmp_path)).setup()


@needs_package
def test_fetch_asks_the_package(kept, tmp_path, monkeypatch, capsys):
    def give(url, target, *_):
        with zipfile.ZipFile(target, "w") as archive:
            archive.write(kept / "CED/DATAUNIF.MAT", "DATAUNIF.MAT")

    monkeypatch.setattr(urllib.request, "urlretrieve", give)
    folder = tmp_path / "fresh"
    assert fetch_data("ced", str(folder)) == [folder / "CED/DATAUNIF.MAT"]
    assert "neither certificates nor checksums" in capsys.readouterr().err
    built("ced", data_dir=str(folder)).setup()


def test_without_the_package_its_folder_is_not_read(kept, monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert data_of("ced").state == "missing"
    config = CascadedTanksConfig()
    config.resolve_auto()
    assert config.records is Records.simulation


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "nonlinear_benchmarks", None)
    task = tasks.get("nonlinear_benchmarks").build(
        NonlinearBenchmarksConfig(), batch_size=1, seed=0
    )
    with pytest.raises(UsageError, match=r"pip install 'ssmbench\[sysid\]'"):
        task.setup()
