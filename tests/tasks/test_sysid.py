"""System identification from any record: channels, units, lengths; a new record is ten lines."""

import numpy as np
import pytest
import torch

from ssmbench.errors import UsageError
from ssmbench.registry import isolated, tasks
from ssmbench.tasks.sysid.record import Description, Experiments, Normalisation, Record, Signal
from ssmbench.tasks.sysid.task import RecordConfig, SystemIdentification, windows
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

    source = "random numbers"
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
    assert task.split("train").u.shape == (17, 40, 2)
    assert task.split("train").target.shape == (17, 35, 2)
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
    scale = Normalisation.of(values, POSITIONS, "beam")
    normalised = scale.apply(values)
    np.testing.assert_allclose(scale.invert(normalised).numpy(), values, rtol=1e-5)
    assert scale.invert(normalised.half()).dtype == torch.float32


def test_windows_are_every_stride_and_end_within_the_record():
    assert windows(10, 4, 3).tolist() == [[0, 1, 2, 3], [3, 4, 5, 6], [6, 7, 8, 9]]
    assert windows(9, 4, 3).tolist() == [[0, 1, 2, 3], [3, 4, 5, 6]]


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
