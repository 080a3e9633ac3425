"""The two tanks: the simulation against other integrators, the records, the cuts, the score."""

import os

import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from ssmbench.errors import UsageError
from ssmbench.tasks.batch import Batch
from ssmbench.tasks.data import DATA_VARIABLE, find_data, read_columns
from ssmbench.tasks.sysid.cascaded_tanks import (
    COLUMNS,
    FILES,
    CascadedTanks,
    CascadedTanksConfig,
    Records,
)
from ssmbench.tasks.sysid.tanks_simulation import (
    SAMPLE_TIME,
    SAMPLES,
    Tanks,
    simulate,
    simulated_records,
)

PUBLISHED = os.environ.get(DATA_VARIABLE)
needs_published = pytest.mark.skipif(
    not PUBLISHED, reason=f"{DATA_VARIABLE} does not name a folder with {FILES[0]}"
)


def tanks_task(**settings):
    return CascadedTanks(CascadedTanksConfig(**settings), batch_size=16, seed=0)


def oracle(u, start, tolerance):
    """The tanks' equations written again, integrated sample by sample with scipy."""
    tanks, levels, state = Tanks(), [], np.array(start)

    def slope(_, x, voltage):
        net = tanks.pump * voltage - tanks.upper_out * np.sqrt(x[0])
        over = max(net, 0.0) * (x[0] >= tanks.upper_height)
        inflow = tanks.lower_in * np.sqrt(x[0]) + tanks.spill * over
        lower = inflow - tanks.lower_out * np.sqrt(x[1])
        return [net - over, min(lower, 0.0) if x[1] >= tanks.lower_height else lower]

    for voltage in u:
        levels.append(state)
        solution = solve_ivp(
            slope,
            (0, SAMPLE_TIME),
            state,
            args=(voltage,),
            rtol=tolerance,
            atol=tolerance,
            max_step=SAMPLE_TIME / 4,
        )
        state = solution.y[:, -1]
    return np.array(levels)


def test_without_overflow_the_levels_are_those_of_an_adaptive_integrator():
    u = 2.0 + np.sin(np.arange(60) / 7.0)
    levels = simulate(Tanks(), u, (5.0, 6.0))
    np.testing.assert_allclose(levels, oracle(u, (5.0, 6.0), 1e-10), atol=1e-7)


def test_with_overflow_the_levels_are_those_of_an_adaptive_integrator():
    u = 2.8 + 3.5 * np.sin(np.arange(100) / 12.0).clip(-0.5)
    levels, tanks = simulate(Tanks(), u, (5.0, 6.0)), Tanks()
    assert (levels[:, 0] == tanks.upper_height).sum() > 5
    assert (levels[:, 1] == tanks.lower_height).sum() > 5
    # Where a tank becomes full the rates jump; each integrator rounds that moment in its own way.
    np.testing.assert_allclose(levels, oracle(u, (5.0, 6.0), 1e-5), atol=0.03)


def test_constant_input_ends_at_the_known_equilibrium():
    tanks = Tanks()
    upper = (tanks.pump * 2.5 / tanks.upper_out) ** 2
    lower = (tanks.lower_in / tanks.lower_out) ** 2 * upper
    levels = simulate(tanks, np.full(600, 2.5), (9.0, 1.0))
    np.testing.assert_allclose(levels[-1], [upper, lower], rtol=1e-6)


def test_empty_tanks_stay_empty_and_nothing_is_nan():
    assert (simulate(Tanks(), np.zeros(50), (0.0, 0.0)) == 0).all()
    drained = simulate(Tanks(), np.zeros(300), (0.5, 0.5), -np.full((300, 2), 0.01))
    assert np.isfinite(drained).all()
    assert (drained >= 0).all()


@pytest.mark.parametrize("seed", range(4))
def test_simulated_records_resemble_the_published_ones(seed):
    records = simulated_records(seed)
    for record in records:
        assert record.u.shape == record.y.shape == (SAMPLES, 1)
        u, y = record.u[:, 0], record.y[:, 0]
        assert u.mean() == pytest.approx(2.8, abs=0.01)
        assert u.std() == pytest.approx(1.0, abs=0.01)
        assert u.min() >= 0
        assert 0 <= y.min() < 3.5
        assert y.max() > 9.9
        assert y.mean() == pytest.approx(5.5, abs=0.6)
        assert y.std() == pytest.approx(2.1, abs=0.5)
        assert fastest_rise(y) == pytest.approx(0.7, abs=0.3)
        assert white_noise(y) == pytest.approx(0.02, abs=0.006)
    assert not np.allclose(records[0].u, records[1].u)


def test_default_training_part_and_test_record_overflow():
    estimation, validation = simulated_records(CascadedTanksConfig().simulation_seed)
    assert (estimation.y[:768] == 10.0).sum() > 10
    assert (validation.y == 10.0).sum() > 10


def test_simulation_follows_its_own_seed_alone():
    one, again, other = (simulated_records(seed)[0] for seed in (0, 0, 1))
    np.testing.assert_array_equal(one.y, again.y)
    assert not np.allclose(one.y, other.y)


def fastest_rise(y):
    return np.diff(y).max()


def white_noise(y):
    """Deviation of the white part of a smooth signal, from its fourth difference."""
    return np.diff(y, n=4).std() / np.sqrt(70)


def test_splits_score_apart_what_they_should():
    task = tanks_task(window=200, stride=8, washout=20, validation=256)
    train, val, test = (task.sample(name) for name in ("train", "val", "test"))
    assert train.u.shape == (72, 200, 1)
    assert train.target.shape == (72, 180, 1)
    assert val.u.shape == test.u.shape == test.target.shape == (1, SAMPLES, 1)
    assert val.target.shape == (1, 256, 1)
    torch.testing.assert_close(train.u[3], val.u[0, 24:224])
    # Windows end where the held-out samples begin.
    torch.testing.assert_close(train.u[-1], val.u[0, 568:768])
    seen = set(train.target.flatten().tolist())
    assert not seen & set(val.target[val.target < val.target.max()].tolist())


def test_normalised_by_the_training_part_alone():
    task = tanks_task()
    record = task.split("val").u[0, :768]
    assert abs(record.mean().item()) < 1e-5
    assert abs(record.std(correction=0).item() - 1) < 1e-5


def test_loss_leaves_the_washout_out():
    task = tanks_task()
    target = task.sample("train").target[:4]
    prediction = torch.cat([torch.full((4, 32, 1), 1e6), target + 0.5], dim=1)
    batch = Batch(torch.zeros(4, 256, 1), target)
    assert task.batch_loss(prediction, batch).item() == pytest.approx(0.25, rel=1e-4)


@pytest.mark.parametrize("split", ["val", "test"])
def test_score_is_in_volts(split):
    task = tanks_task()
    data = task.split(split)
    deviation = simulated_records(task.config.simulation_seed)[0].y[:768].std()
    prediction = torch.zeros_like(data.u)
    prediction[:, -data.target.shape[1] :] = data.target + 0.3 / deviation
    metrics = task.metrics()
    metrics.update(*task.batch_metric(prediction, task.sample(split)))
    assert metrics.compute()["rmse"].item() == pytest.approx(0.3, rel=1e-4)


def test_test_target_in_volts_is_the_record():
    task = tanks_task()
    data = task.split("test")
    _, volts = task.batch_metric(torch.zeros_like(data.u), task.sample("test"))
    record = simulated_records(task.config.simulation_seed)[1].y[:, 0]
    np.testing.assert_allclose(volts.numpy(), record, atol=1e-5)


@pytest.mark.parametrize(
    "settings",
    [
        {"window": 0},
        {"window": 800},
        {"washout": 256},
        {"stride": 0},
        {"validation": 0},
        {"validation": 1024},
        {"simulation_seed": -1},
        {"input_noise": -0.1},
        {"input_noise": float("nan")},
    ],
)
def test_lengths_that_do_not_fit_are_refused_in_one_line(settings):
    with pytest.raises(UsageError, match=next(iter(settings))) as caught:
        tanks_task(**settings).setup()
    assert "\n" not in str(caught.value)


def test_refitting_trains_on_the_held_out_end_too():
    whole, cut = (tanks_task(window=768, stride=128, refit=refit) for refit in (True, False))
    u = torch.cat([whole.sample("train").u[0], whole.sample("train").u[2][-256:]])
    assert torch.equal(u, whole.split("val").u[0])  # the last window ends where the record does
    assert len(whole.sample("train").u) == 3
    assert len(cut.sample("train").u) == 1
    assert whole.split("val").target.shape == cut.split("val").target.shape == (1, 256, 1)


def test_training_inputs_are_augmented_and_no_others():
    task = tanks_task(records=Records.simulation, input_noise=0.3)
    batch = task.sample("train")
    noise = task.augment(batch).u - batch.u
    assert noise.std().item() == pytest.approx(0.3, rel=0.02)
    assert not torch.equal(noise, task.augment(batch).u - batch.u)
    assert tanks_task(records=Records.simulation).augment(batch) is batch


def write_record(path, rows=SAMPLES, u="sin"):
    time = np.arange(rows) / 50
    signal = np.sin(time) if u == "sin" else np.ones(rows)
    table = np.stack([signal, np.cos(time), np.sin(2 * time), np.cos(2 * time)], axis=1)
    lines = [",".join(f'"{name}"' for name in ("uEst", "yEst", "uVal", "yVal", "Ts")) + ","]
    lines += [",".join(f"{cell:.6f}" for cell in row) + ",," for row in table]
    path.write_text("\n".join([*lines, "", ""]))
    return table


def test_file_in_the_folder_itself_is_read(tmp_path):
    table = write_record(tmp_path / "dataBenchmark.csv")
    task = tanks_task(data_dir=str(tmp_path))
    assert task.source == "published CSV"
    data = task.split("test")
    _, volts = task.batch_metric(torch.zeros_like(data.u), task.sample("test"))
    np.testing.assert_allclose(volts.numpy(), table[:, 3], atol=1e-5)


def test_source_without_a_folder_is_the_simulation():
    assert tanks_task().source == "simulation"


def test_malformed_records_are_refused_in_one_line(tmp_path):
    path = tmp_path / "dataBenchmark.csv"
    for content, word in [
        (lambda: write_record(path, rows=1000), "1000 rows"),
        (lambda: write_record(path, u="constant"), "constant"),
        (lambda: path.write_text("V1,V2\n1,2\n"), "no column uEst"),
    ]:
        content()
        with pytest.raises(UsageError, match=word) as caught:
            tanks_task(data_dir=str(tmp_path)).setup()
        assert "\n" not in str(caught.value)


def test_folder_without_the_record_is_refused(tmp_path):
    with pytest.raises(UsageError, match=FILES[0]):
        tanks_task(data_dir=str(tmp_path)).setup()


@needs_published
def test_published_record_is_read_whole():
    task = tanks_task(data_dir=PUBLISHED)
    assert task.source == "published CSV"
    data = task.split("test")
    _, volts = task.batch_metric(torch.zeros_like(data.u), task.sample("test"))
    assert volts[0].item() == pytest.approx(4.9728, abs=1e-5)
    assert volts[-1].item() == pytest.approx(3.7179, abs=1e-5)
    assert volts.max().item() == pytest.approx(10.0, abs=1e-5)


@needs_published
def test_simulated_input_has_the_published_spectrum():
    published = read_columns(find_data(PUBLISHED, *FILES), COLUMNS, SAMPLES)
    simulated = simulated_records(2)
    for column, record in zip((0, 2), simulated, strict=True):
        inputs = published[:, column], record.u[:, 0]
        lines = [np.abs(np.fft.rfft(u)) * 2 / SAMPLES for u in inputs]
        np.testing.assert_allclose(lines[1], lines[0], atol=2e-3)


@needs_published
def test_tanks_constants_fit_the_published_records():
    u_est, y_est, u_val, y_val = read_columns(find_data(PUBLISHED, *FILES), COLUMNS, SAMPLES).T
    for u, y in ((u_est, y_est), (u_val, y_val)):
        level = simulate(Tanks(), u, (y[0] + 1.0, y[0] + 1.0))[:, 1] - 1.0
        error = np.sqrt(np.mean((np.minimum(level, 10.0) - y) ** 2))
        assert error < 0.6
