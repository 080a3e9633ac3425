"""A suite that is trained once, and its published folder."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from ssmbench import registry
from ssmbench.library.publications import publish
from ssmbench.library.suites import plan_suite
from ssmbench.publication.write import Published
from ssmbench.suite.session import run_suite
from tests.conftest import TINY
from tests.publication.forging import Forger

#: A parametrization that declares less than its matrices have.
LIAR = '''
from ssmbench.parametrizations.unconstrained import UnconstrainedConfig, UnconstrainedDiagonal
from ssmbench.registry import parametrizations


@parametrizations.register("liar", config=UnconstrainedConfig, citation="made up")
class Liar(UnconstrainedDiagonal):
    """Says that its gain is small."""

    def declared_gain(self):
        return 0.01
'''


@pytest.fixture(scope="session")
def plugins(tmp_path_factory) -> Path:
    """A folder of plugins."""
    folder = tmp_path_factory.mktemp("own") / "plugins"
    folder.mkdir()
    (folder / "liar.py").write_text(LIAR)
    return folder


@pytest.fixture(scope="session")
def suite(tmp_path_factory, plugins) -> Path:
    """The folder of a suite: S4D with two seeds, L2RU, a passive layer and the liar with one,
    trained a step."""
    base = copy.deepcopy(TINY) | {"model": {"d_model": 4, "n_layers": 1}}
    small = {"d_state": 4}
    variants = {
        "S4D": {"model": {"parametrization": {"name": "s4d"} | small}, "discretizers": ["zoh"]},
        "L2RU": {"model": {"parametrization": "l2ru"}},
        "Passive": {
            "model": {"parametrization": {"name": "passive"} | small},
            "analysis": {"measures": ["peak_to_peak", {"name": "band_gain", "low": 0.5}]},
        },
        "Liar": {"model": {"parametrization": {"name": "liar"} | small, "discretizer": "tustin"}},
    }
    content = {
        "name": "small",
        "base": base,
        "tasks": {"digits": {"task": "digits"}},
        "variants": variants,
        "seeds": [0, 1],
        "exclude": ["digits/L2RU-s1", "digits/Passive-s1", "digits/Liar-tustin-s1"],
        "launcher": {"name": "inline"},
    }
    work = tmp_path_factory.mktemp("suite")
    (work / "small.yaml").write_text(yaml.safe_dump(content))
    with found(plugins):
        planned = plan_suite(work / "small.yaml", output=work / "small")
        assert run_suite(planned.suite, planned.folder, None, 1, "missing") == 0
    return planned.folder


@contextmanager
def found(plugins: Path) -> Iterator[None]:
    """Within: the plugins of a folder are registered; not in the tests of other files."""
    with pytest.MonkeyPatch.context() as patch, registry.isolated(rediscover=True):
        patch.setenv(registry.PLUGINS_VARIABLE, str(plugins))
        yield


@pytest.fixture
def own_plugins(plugins) -> Iterator[None]:
    """Within a test: the plugins of the folder are registered."""
    with found(plugins):
        yield


@pytest.fixture(scope="session")
def published(suite, plugins) -> Published:
    """What was published of it."""
    with found(plugins):
        return publish(suite, licence="mit")


@pytest.fixture
def forger(published, tmp_path) -> Callable[..., Forger]:
    """Make a copy of the published folder, with the runs of these labels."""
    return lambda *labels: Forger(published.folder, tmp_path / "submitted", *labels)
