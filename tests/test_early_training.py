"""The tool that compares how fast networks learn, on a few random images."""

import pytest

from ssmbench.tasks.mnist import MNIST
from tests.tools import load_tool

CERTIFIED = "certified_memory:mnist/certified-50"


@pytest.fixture(scope="module")
def tool():
    return load_tool("early_training")


@pytest.fixture
def call(tool, tmp_path, capsys):
    """Call the tool on tiny networks; the lines that it prints."""
    task = MNIST.tiny(tmp_path)

    def called(config, *overrides):
        options = ["--width", "4", "--states", "4", "--steps", "4", "--stop", "2", "--every", "1"]
        data = [f"task.{key}={value}" for key, value in task.items()]
        assert tool.main([config, *data, "model.n_layers=2", *overrides, *options]) == 0
        return capsys.readouterr().out.splitlines()

    return called


def test_it_prints_the_size_of_signals_the_losses_and_the_accuracy(call):
    sizes, first, second, last = call(CERTIFIED)
    assert len(sizes.partition(":")[2].split()) == 3
    assert first.startswith("step 1: loss ")
    assert second.startswith("step 2: loss ")
    assert last.startswith("loss ")
    assert "accuracy" in last


def test_gains_of_layers_multiply_the_signal(call):
    """GroupSort is positively homogeneous, and the biases of new static layers are zero: ten times
    the gain in both layers is a hundred times the signal, with and without the encoder's bias."""
    for bias in ("false", "true"):
        small, large = (
            call(CERTIFIED, f"model.normaliser.gamma={g}", f"model.encoder.bias={bias}")[0]
            for g in (1, 10)
        )
        last = [float(line.split()[-1]) for line in (small, large)]
        assert last[1] == pytest.approx(100 * last[0], rel=0.1)


def test_rates_rise_and_fall(tool):
    factors = [tool.rate_factor(step, 100) for step in range(100)]
    assert factors[0] == pytest.approx(0.1)
    assert max(factors) == factors[9] == 1
    assert factors[-1] < 0.02


def test_other_tasks_are_refused(tool, capsys):
    with pytest.raises(SystemExit):
        tool.main(["certified_digits:digits/S4D"])
    assert "needs a run of mnist" in capsys.readouterr().err
