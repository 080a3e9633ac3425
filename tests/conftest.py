"""Fixtures that several folders of tests share."""

from __future__ import annotations

import copy
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

import tests.array_checks  # noqa: F401  # isort: skip  # before ssmbench, see there

from ssmbench import registry
from ssmbench.tasks.cache import CACHE_VARIABLE
from ssmbench.tasks.data import DATA_VARIABLE
from tests.browser import browser
from tests.troubled import troubled

__all__ = ["browser", "troubled"]  # fixtures

ROOT = Path(__file__).parents[1]

#: A run of one optimizer step: a fraction of a second once everything is imported.
TINY = {
    "task": "digits",
    "batch_size": 32,
    "model": {
        "d_model": 4,
        "n_layers": 1,
        "parametrization": {"name": "s4d", "d_state": 4},
        "discretizer": "zoh",
    },
    "analysis": {"attack_steps": 2, "attack_restarts": 2, "robustness_sequences": 8},
    "trainer": {
        "accelerator": "cpu",
        "devices": 1,
        "max_epochs": 1,
        "log_every_n_steps": 1,
        "limit_train_batches": 1,
        "limit_val_batches": 1,
        "limit_test_batches": 1,
    },
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files with slow tests first: where several processes share the files, none is left with a
    long one at the end."""
    slow = Counter(item.path for item in items if item.get_closest_marker("slow"))
    items.sort(key=lambda item: -slow[item.path])


@pytest.fixture(autouse=True, scope="session")
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A cache of the tests' own: they neither read nor fill the user's."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(CACHE_VARIABLE, str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(autouse=True, scope="session")
def _interrupt() -> None:
    """Control-C has its effect on this process and on those that tests start, also where the tests
    run in the background of a shell, which has it ignored."""
    if threading.current_thread() is threading.main_thread():
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def root() -> Path:
    """The checkout."""
    return ROOT


@pytest.fixture
def tiny() -> dict[str, Any]:
    """A run config, in part, that trains for one step."""
    return copy.deepcopy(TINY)


@pytest.fixture
def tiny_suite() -> dict[str, Any]:
    """A suite of two runs: a continuous variant and a discrete one."""
    base = copy.deepcopy(TINY) | {"model": {"d_model": 4, "n_layers": 1}}
    s4d = {"model": {"parametrization": {"name": "s4d", "d_state": 4}}, "discretizers": ["zoh"]}
    return {
        "name": "small",
        "base": base,
        "tasks": {"digits": {"task": "digits"}},
        "variants": {"S4D": s4d, "L2RU": {"model": {"parametrization": "l2ru"}}},
    }


@pytest.fixture
def workplace(monkeypatch, tmp_path) -> Iterator[Path]:
    """An empty working folder, no plugins, no data, and a registry that forgets afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(DATA_VARIABLE, raising=False)
    monkeypatch.setenv(registry.PLUGINS_VARIABLE, "")
    with registry.isolated(rediscover=True):
        yield tmp_path


@pytest.fixture
def write(workplace):
    """Write a file of the working folder: text as it is, anything else as YAML."""

    def write_file(name: str, content: Any) -> Path:
        path = workplace / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(
            content if isinstance(content, str) else yaml.safe_dump(content, sort_keys=False)
        )
        return path

    return write_file


@dataclass(frozen=True)
class Answer:
    """What a command line left behind."""

    code: int
    out: str
    err: str


@pytest.fixture
def ssmbench(workplace, monkeypatch, capsys):
    """Run the command line in this process."""
    from ssmbench import cli

    def call(*arguments: Any) -> Answer:
        monkeypatch.setattr(sys, "argv", ["ssmbench", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as stopped:
            cli.main()
        captured = capsys.readouterr()
        return Answer(stopped.value.code or 0, captured.out, captured.err)

    return call
