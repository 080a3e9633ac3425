"""One real suite in which everything that can go wrong does, shared by tests of suites and runs."""

from __future__ import annotations

import fcntl
import os
import pickle
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from ssmbench import jsonio
from ssmbench.registry import PLUGINS_VARIABLE
from ssmbench.runs.folder import RunFolder

PLANTED = '''
import os
import sys

import torch

from ssmbench.nn.nonlinearities.base import Nonlinearity
from ssmbench.parametrizations.base import Parametrization
from ssmbench.registry import nonlinearities, parametrizations
from ssmbench.systems import DiscreteDiagonal


@parametrizations.register("liar")
class Liar(Parametrization):
    """Declares 0.1; its H-infinity norm is 1, at zero frequency."""

    system_type = DiscreteDiagonal
    stable_by_construction = True

    def __init__(self, config, *, d_model):
        super().__init__()
        self.register_buffer("lam", torch.full((d_model, 1), 0.5))

    def declared_gain(self):
        return 0.1

    def forward(self):
        half = torch.full_like(self.lam, 0.5)[..., None]
        return DiscreteDiagonal(lam=self.lam, B=half, C=2 * half, D=0 * half)


@nonlinearities.register("raises")
class Raises(Nonlinearity):
    """Crashes, and talks."""

    def forward(self, x):
        print("noise on stdout")
        os.write(1, b"noise on descriptor 1\\n")
        raise RuntimeError("planted crash")


@nonlinearities.register("exits")
class Exits(Nonlinearity):
    """Ends its process, and calls that a success."""

    def forward(self, x):
        sys.exit(0)


@nonlinearities.register("kills")
class Kills(Nonlinearity):
    """Takes its process with it."""

    def forward(self, x):
        os._exit(7)
'''

TROUBLES = {
    "Good": {"model": {"parametrization": {"name": "s4d", "d_state": 4}}, "discretizers": ["zoh"]},
    "Killing": {"model": {"parametrization": "l2ru", "nonlinearity": "kills"}},
    "Exiting": {"model": {"parametrization": "l2ru", "nonlinearity": "exits"}},
    "Crashing": {"model": {"parametrization": "l2ru", "nonlinearity": "raises"}},
    "Diverging": {
        "model": {"parametrization": {"name": "s4d", "d_state": 4, "dt_min": 5.0, "dt_max": 5.0}},
        "discretizers": ["forward_euler"],
    },
    "Lying": {"model": {"parametrization": "liar"}},
}


@dataclass(frozen=True)
class Outcome:
    """What a suite left behind."""

    root: Path
    code: int
    out: str
    err: str

    def run(self, variant: str) -> RunFolder:
        """The folder of a variant's only run."""
        cells = jsonio.loads((self.root / "suite.json").read_text())["cells"]
        (mark,) = (cell["fingerprint"] for cell in cells if cell["variant"] == variant)
        return RunFolder(self.root / "runs" / mark)


def _base() -> dict[str, Any]:
    few = dict.fromkeys(("limit_train_batches", "limit_val_batches", "limit_test_batches"), 1)
    trainer = {"accelerator": "cpu", "devices": 1, "max_epochs": 1, "log_every_n_steps": 1}
    return {
        "batch_size": 32,
        "model": {"d_model": 4, "n_layers": 1},
        "analysis": {"attack_steps": 2, "attack_restarts": 2, "robustness_sequences": 8},
        "trainer": trainer | few,
    }


@pytest.fixture(scope="session")
def troubled(tmp_path_factory) -> Outcome:
    """What :func:`_run_suite` left behind, to be read only: one for all processes of the tests."""
    place = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        place = place.parent
    place = place / "troubled"
    place.mkdir(exist_ok=True)
    outcome = place / "outcome.pickle"
    with (place / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not outcome.exists():
            outcome.write_bytes(pickle.dumps(_run_suite(place)))
    return pickle.loads(outcome.read_bytes())


def _run_suite(place: Path) -> Outcome:
    """``ssmbench suite`` in a process of its own, on variants that misbehave."""
    (place / "planted.py").write_text(PLANTED)
    tasks = {"digits": {"task": "digits"}}
    suite = {"name": "troubled", "base": _base(), "tasks": tasks, "variants": TROUBLES}
    (place / "suite.yaml").write_text(yaml.safe_dump(suite, sort_keys=False))
    arguments = "suite suite.yaml --plugins planted.py --output out --jobs 1 --json"
    done = subprocess.run(
        [sys.executable, "-m", "ssmbench", *arguments.split()],
        cwd=place,
        env={k: v for k, v in os.environ.items() if k != PLUGINS_VARIABLE},
        capture_output=True,
        text=True,
        check=False,
    )
    return Outcome(place / "out", done.returncode, done.stdout, done.stderr)
