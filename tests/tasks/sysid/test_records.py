"""System identification from any record: channels, units, lengths; a new record is ten lines."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ssmbench.errors import UsageError
from ssmbench.registry import isolated, tasks
from ssmbench.tasks.metrics.fit import Fit
from ssmbench.tasks.normalisation import Normalisation
from ssmbench.tasks.sysid.record import Description, Experiments, Record, Signal
from ssmbench.tasks.sysid.task import RecordConfig, SystemIdentification
from ssmbench.tasks.sysid.windows import window_starts
from ssmbench.testing import conform

FORCES = [Signal("force", "N"), Signal("voltage", "V")]
POSITIONS = [Signal("upper position", "mm"), Signal("lower position", "mm")]
#: Deviations of the outputs, far apart, so that one scale for both would be noticed.
SPREADS = np.array([1.0, 50.0])


def record(seed, samples):
    rng = np.random.default_rng(seed)
    u = 3.0 + rng.standard_normal((samples, 2))
    return Record(u, 7.0 + SPREADS * rng.standard_normal((samples, 2)))


class Beam(SystemIdentification):
    """A record of two inputs and two outputs whose length is not known before reading."""

    origin = "random numbers"
    description = Description("beam", inputs=FORCES, outputs=POSITIONS, sampling_time=0.01)

    def experiments(self):
        return Experiments(estimation=record(0, 300), test=record(1, 120))


def beam(cls=Beam, **options):
    config = RecordConfig(window=40, stride=10, washout=5, validation=100)
    for name, value in options.items():
        setattr(config, name, value)
    return cls(config, batch_size=4, seed=0)


def test_a_new_record_conforms():
    with isolated():
        tasks.register("toy_beam", config=RecordConfig, citation="none")(Beam)
        config = RecordConfig(window=40, stride=10, washout=5, validation=100)
        report = conform(tasks.get("toy_beam"), config=config)
    assert [c.name for c in report.checks if c.skipped] == ["padding has no influence"]


def test_every_signal_is_a_channel():
    task = beam()
    assert (task.sizes.sequence.count, task.sizes.outputs, task.unit) == (2, 2, "mm")
    assert task.sample("train").u.shape == (17, 40, 2)
    assert task.sample("train").target.shape == (17, 35, 2)
    assert task.split("val").target.shape == (1, 100, 2)
    assert task.split("test").target.shape == (1, 120, 2)


def test_every_channel_is_normalised_by_the_samples_trained_on():
    for data in (beam().split("val").u[0, :200], beam(refit=True).split("val").u[0]):
        assert data.mean(0).abs().max().item() < 1e-5
        assert (data.std(0, correction=0) - 1).abs().max().item() < 1e-5


def test_the_score_is_the_error_of_all_outputs_in_their_unit():
    task = beam()
    batch = task.sample("test")
    metrics = task.metrics()
    metrics.update(*task.batch_metric(torch.zeros_like(batch.target), batch))
    trained, test = record(0, 300).y[:200], record(1, 120).y
    expected = np.sqrt(np.mean((test - trained.mean(0)) ** 2))
    assert metrics.compute()["rmse"].item() == pytest.approx(expected, rel=1e-5)


def test_normalisation_is_inverted_in_any_precision():
    values = record(0, 50).y
    scale = Normalisation.of(values, ["upper", "lower"], "beam")
    normalised = scale.apply(values)
    np.testing.assert_allclose(scale.invert(normalised).numpy(), values, rtol=1e-5)
    assert scale.invert(normalised.half()).dtype == torch.float32


def test_windows_are_every_stride_and_end_within_the_record():
    assert list(window_starts(10, 4, 3)) == [0, 3, 6]
    assert list(window_starts(9, 4, 3)) == [0, 3]
    batch = beam().sample("train", 2)
    torch.testing.assert_close(batch.u[0, 10:], batch.u[1, :30], rtol=0, atol=0)
    torch.testing.assert_close(batch.target[0, 10:], batch.target[1, :25], rtol=0, atol=0)


def test_lengths_are_checked_when_the_record_is_known():
    task = beam(window=250)
    with pytest.raises(UsageError, match=r"^beam: window must be in 1\.\.200, the samples trained"):
        task.setup()

    class Known(Beam):
        description = Description("known", FORCES, POSITIONS, sampling_time=0.01, samples=300)

    with pytest.raises(UsageError, match=r"^known: window must be in 1\.\.200"):
        beam(Known, window=250)


def test_a_constant_signal_is_named():
    class Stuck(Beam):
        def experiments(self):
            records = super().experiments()
            records.estimation.y[:, 1] = 4.0
            return records

    with pytest.raises(UsageError, match=r"^beam: lower position is constant over the training"):
        beam(Stuck).setup()


def test_outputs_of_several_units_are_refused():
    with pytest.raises(UsageError, match=r"^mixed: the outputs must have one unit, not \['N', 'V'"):
        Description("mixed", inputs=POSITIONS, outputs=FORCES, sampling_time=1.0)


# --- what a test scores --------------------------------------------------------------------------


class Extended(Beam):
    """With further tests, one of them scored from its tenth sample."""

    def experiments(self):
        whole = record(1, 120)
        return Experiments(
            [record(0, 300), record(2, 250)], whole, {"end": whole.part(40, run_in=10)}
        )


def test_the_start_of_a_test_is_not_scored_where_asked():
    task = beam(test_washout=20)
    whole = beam().split("test")
    torch.testing.assert_close(task.split("test").u, whole.u)
    torch.testing.assert_close(task.split("test").target, whole.target[:, 20:])
    assert (beam().source, task.source) == (
        "random numbers",
        "random numbers, scored from sample 20",
    )
    with pytest.raises(UsageError, match=r"^beam: test_washout 120 leaves nothing of the 120"):
        beam(test_washout=120).setup()


def test_further_records_are_scored_from_where_they_say():
    task = beam(Extended)
    whole, end = task.split("test"), task.split("end")
    assert task.further_tests() == ("end",)
    torch.testing.assert_close(end.u[0], whole.u[0, 30:])
    torch.testing.assert_close(end.target[0], whole.target[0, 40:])
    assert beam(Extended, test_washout=15).split("end").target.shape == (1, 75, 2)


def test_several_estimation_records_are_each_cut():
    task = beam(Extended)
    assert task.sample("train").u.shape == (17 + 12, 40, 2)
    val = task.split("val")
    assert val.u.shape == (2, 250, 2)  # as long as the shorter one
    assert val.target.shape == (2, 100, 2)
    trained = np.concatenate([record(0, 300).u[:200], record(2, 250).u[:150]])
    expected = Normalisation.of(trained, ["force", "voltage"], "beam").apply(record(0, 300).u)
    torch.testing.assert_close(val.u[0], expected[50:])


def test_validation_can_start_shortly_before_what_is_held_out():
    whole, short = beam().split("val"), beam(validation_washout=30).split("val")
    torch.testing.assert_close(short.u, whole.u[:, 170:])
    torch.testing.assert_close(short.target, whole.target)
    assert beam(validation_washout=1000).split("val").u.shape == whole.u.shape


def test_options_with_their_default_leave_the_digest_of_earlier_runs():
    """That of this record's config before ``test_washout`` and others were added."""
    assert beam().data_digest == "d704fbe3080ceb45"
    assert beam(test_washout=1).data_digest != beam().data_digest


# --- the outputs of the first steps ---------------------------------------------------------------


def test_outputs_of_the_first_steps_are_further_inputs():
    task, plain = beam(initial_outputs=5, test_washout=3), beam()
    assert (task.sizes.sequence.count, task.sizes.outputs) == (5, 2)
    for split in ("train", "val", "test"):
        batch, before = task.sample(split), plain.sample(split)
        u, y, given = batch.u.split([2, 2, 1], dim=-1)
        torch.testing.assert_close(u, before.u, rtol=0, atol=0)
        assert (given[:, :5] == 1).all()
        assert (given[:, 5:] == 0).all()
        assert (y[:, 5:] == 0).all()
        scored = min(before.target.shape[1], u.shape[1] - 5)
        torch.testing.assert_close(batch.target, before.target[:, -scored:], rtol=0, atol=0)
    whole = plain.sample("test").target
    torch.testing.assert_close(task.sample("test").u[:, :5, 2:4], whole[:, :5], rtol=0, atol=0)
    first = beam(washout=0).sample("train", 1).target  # from the first step of the window on
    torch.testing.assert_close(task.sample("train", 1).u[:, :5, 2:4], first[:, :5], rtol=0, atol=0)


def test_the_source_says_which_outputs_are_given():
    said = "random numbers, scored from sample 5, given the measured outputs of the first 5 samples"
    assert beam(initial_outputs=5).source == said
    later = beam(initial_outputs=5, test_washout=9).source
    assert "scored from sample 9, given the measured outputs of the first 5" in later
    assert beam().source == "random numbers"
    with pytest.raises(UsageError, match="initial_outputs must be at most washout"):
        beam(initial_outputs=6).setup()


def test_a_task_that_gives_outputs_conforms():
    options = {"window": 40, "stride": 10, "washout": 5, "validation": 100}
    config = RecordConfig(**options, initial_outputs=5, validation_washout=0)
    with isolated():
        tasks.register("toy_beam", config=RecordConfig, citation="none")(Beam)
        conform(tasks.get("toy_beam"), config=config)
    task = Beam(config, batch_size=4, seed=0)
    assert task.split("val").target.shape == (1, 95, 2)


def test_outputs_that_are_given_change_no_baseline_and_get_no_noise():
    plain = beam(test_washout=5)
    given = beam(initial_outputs=5, input_noise=0.5)
    plain.setup()
    given.setup()
    scores = [
        {name: task.score_of(predict) for name, predict in task.baselines().items()}
        for task in (plain, given)
    ]
    assert scores[0] == scores[1]
    batch = given.sample("train", 3)
    noisy = given.augment(batch)
    assert not torch.equal(noisy.u[..., :2], batch.u[..., :2])
    torch.testing.assert_close(noisy.u[..., 2:], batch.u[..., 2:], rtol=0, atol=0)


# --- the fit and the baselines -------------------------------------------------------------------


@given(seed=st.integers(0, 1000), outputs=st.integers(1, 3), cut=st.integers(1, 49))
def test_the_fit_is_its_definition_in_parts_and_at_once(seed, outputs, cut):
    rng = np.random.default_rng(seed)
    y = 100.0 + rng.standard_normal((50, outputs))
    guess = y + 0.3 * rng.standard_normal(y.shape)
    norm = np.linalg.norm
    expected = np.mean(100 * (1 - norm(y - guess, axis=0) / norm(y - y.mean(0), axis=0)))
    metric = Fit(outputs)
    for part in (slice(0, cut), slice(cut, 50)):
        metric.update(*(torch.from_numpy(x[part].ravel()) for x in (guess, y)))
    assert metric.compute().item() == pytest.approx(expected, rel=1e-5)


def test_an_output_that_does_not_vary_has_no_fit():
    y = torch.stack([torch.full((20,), 3.0), torch.arange(20.0)], dim=1)
    metric = Fit(2)
    metric.update((y + 0.5).flatten(), y.flatten())
    alone = Fit(1)
    alone.update(y[:, 1] + 0.5, y[:, 1])
    assert metric.compute().item() == pytest.approx(alone.compute().item())
    constant = Fit(1)
    constant.update(y[:, 0], y[:, 0])
    assert constant.compute().isnan()


class Filtered(Beam):
    """Outputs that are a linear filter of the inputs, in records that need several parts."""

    def experiments(self):
        rng = np.random.default_rng(3)
        u = 2.0 + rng.standard_normal((9000, 2))
        past = np.vstack([np.zeros((2, 2)), u])
        y = 5.0 + past[2:] @ [[1.0, 2.0], [0.0, 1.0]] - past[:-2] @ [[0.5, 0.0], [1.0, 0.0]]
        return Experiments(Record(u, y), Record(u[:500], y[:500]))


def test_the_baselines_are_the_mean_and_the_best_linear_filter():
    task = beam(Filtered, washout=2)
    scores = task.baseline_scores()
    spread = np.sqrt(np.mean((task._outputs.deviation) ** 2))
    assert set(scores) == {"mean", "linear FIR of 20 taps"}
    assert scores["mean"] == pytest.approx(spread, rel=0.1)
    # of a test only the first two samples differ: the input before them was not zero on average
    first = beam(Filtered, washout=2, test_washout=2, fir_taps=3).baseline_scores()
    assert first["linear FIR of 3 taps"] < 1e-4 * spread
