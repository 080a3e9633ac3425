"""Tests of the parametrization damped_modes, for pytest."""

from pathlib import Path

import ssmbench as sb
from ssmbench.registry import add_plugin_paths

HERE = Path(__file__).parent
add_plugin_paths([HERE / "damped_modes.py"])

#: One step of training and a short analysis.
SHORT = {
    "model": {"d_model": 4, "n_layers": 1},
    "analysis": {"attack_steps": 2, "attack_restarts": 2, "robustness_sequences": 8},
    "trainer": {
        "max_epochs": 1,
        "limit_train_batches": 1,
        "limit_val_batches": 1,
        "limit_test_batches": 1,
        "log_every_n_steps": 1,
    },
}


def test_it_passes_every_check():
    report = sb.check("parametrization", "damped_modes")
    assert report.ok, report


def test_its_config_trains(tmp_path):
    run = sb.train(HERE / "damped_modes.yaml", SHORT, output=tmp_path, progress=False)
    assert run.state == "finished"
