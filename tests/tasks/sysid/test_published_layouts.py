"""Published benchmarks whose files are not here: random files in their layouts, cut as stated."""

import numpy as np
import pytest
from scipy.io import loadmat, savemat

from ssmbench.errors import UsageError
from ssmbench.tasks.data import DATA_VARIABLE
from ssmbench.tasks.sysid.f16 import Excitation
from tests.tasks.tiny import tiny_options, tiny_task

#: Of each task, the samples of the splits and how many of them are scored.
SHAPES = {
    "wiener_hammerstein": {"val": (21_024, 20_000), "test": (78_800, 78_750)},
    "emps": {"val": (400, 100), "test": (400, 380)},
    "ced": {"val": (400, 100), "test": (100, 90), "high amplitude": (100, 90)},
    "f16": {"val": (150, 100), "test": (300, 250), "level 2": (300, 250), "level 4": (300, 250)},
}


@pytest.mark.parametrize("name", SHAPES)
def test_records_are_cut_as_published(name):
    task = tiny_task(name)
    for split, (samples, scored) in SHAPES[name].items():
        data = task.split(split)
        assert (data.u.shape[1], data.target.shape[1]) == (samples, scored)
    assert task.further_tests() == tuple(list(SHAPES[name])[2:])


def outputs(task, split):
    """The scored outputs of a split's first sequence in physical units, (S, p)."""
    batch = task.sample(split, 1)
    values = task.batch_metric(batch.target, batch)[1]
    return values.unflatten(0, (-1, batch.target.shape[2])).numpy()


def test_values_and_units():
    for name, file, signal, first, scale in [
        ("wiener_hammerstein", "WienerHammerBenchMark.mat", "yBenchMark", 105_250, 1000),
        ("emps", "DATA_EMPS_PULSES.mat", "qm", 20, 1000),
        ("ced", "DATAUNIF.MAT", "z11", 410, 1),
    ]:
        content = loadmat(f"{tiny_options(name)['data_dir']}/{file}")
        found = outputs(tiny_task(name), "test")[:, 0]
        expected = scale * content[signal][first : first + len(found), 0]
        np.testing.assert_allclose(found, expected, atol=1e-3 * scale)


def test_f16_has_three_outputs_in_mat_and_csv(tmp_path):
    options = tiny_options("f16")
    task = tiny_task("f16")
    assert (task.sizes.sequence.count, task.sizes.outputs) == (1, 3)
    assert task.split("val").u.shape[0] == 4
    for file in task.data_files():
        content = loadmat(file)
        table = np.vstack([content["Force"], content["Voltage"], content["Acceleration"]]).T
        header = "Force,Voltage,Acceleration1,Acceleration2,Acceleration3"
        target = tmp_path / f"{file.stem}.csv"
        np.savetxt(target, table, delimiter=",", header=header, comments="", fmt="%.17g")
    same = tiny_task("f16", **options | {"data_dir": str(tmp_path)})
    np.testing.assert_array_equal(outputs(task, "level 4"), outputs(same, "level 4"))
    level = loadmat(task.data_files()[4])["Acceleration"].T
    np.testing.assert_allclose(outputs(task, "test"), level[50:], atol=1e-5)


def test_what_is_missing_or_short_is_named(tmp_path, monkeypatch):
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    with pytest.raises(UsageError, match=r"F16Data_SineSw_Level1\.mat"):
        tiny_task("f16", excitation=Excitation.SineSw).setup()
    savemat(tmp_path / "DATAUNIF.MAT", {name: np.arange(9.0) for name in ("u11", "z11", "u12")})
    with pytest.raises(UsageError, match=r"DATAUNIF.MAT: no signal 'z12'; did you mean 'z11'"):
        tiny_task("ced", data_dir=str(tmp_path)).setup()
    columns = dict.fromkeys(("u11", "z11", "u12", "z12"), np.arange(9.0))
    savemat(tmp_path / "DATAUNIF.MAT", columns)
    with pytest.raises(UsageError, match="ced: the file has 9 samples, not 500"):
        tiny_task("ced", data_dir=str(tmp_path)).setup()
