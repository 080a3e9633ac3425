"""Every block of code in the documentation is executed, or stands here with the reason why not.

Commands of ssmbench run in this process: those that answer at once as they stand, ``run`` with
``--dry-run``, and of the others the verb and the options are read; what these do is tested where
:data:`ELSEWHERE` says. Python is executed, and YAML is resolved as a config.
"""

from __future__ import annotations

import re
import types
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

import ssmbench as sb
from ssmbench.config import read_yaml, resolve
from ssmbench.parametrizations.base import ParameterOptions
from ssmbench.suite.places import load_places
from ssmbench.suite.search.settings import read_searches
from tests.snippets import PAGES, ROOT, Block, blocks, commands

#: Verbs that are executed as they stand, in a folder with system.npz.
AT_ONCE = ("list", "show", "discretize", "data list", "data show", "doctor")
#: Verbs of which the arguments are read only, and the test that executes them.
ELSEWHERE = {
    "attack": "tests/cli/test_verbs.py",
    "bench": "tests/test_bench.py",
    "check": "tests/cli/test_check.py",
    "compare": "tests/figures/test_figures_of_runs.py",
    "data check": "tests/cli/test_data.py",
    "data fetch": "tests/cli/test_data.py",
    "data make": "tests/cli/test_data.py",
    "export": "tests/cli/test_export.py",
    "import": "tests/cli/test_import.py",
    "new": "tests/plugins/test_new.py",
    "plot gain": "tests/figures/test_figures_of_runs.py",
    "plot hankel": "tests/figures/test_figures_of_runs.py",
    "plot kernel": "tests/figures/test_figures_of_runs.py",
    "plot poles": "tests/figures/test_figures_of_runs.py",
    "plot stability": "tests/cli/test_verbs.py",
    "plot training": "tests/figures/test_figures_of_runs.py",
    "publish": "tests/publication/test_publish.py",
    "reduce": "tests/reduction/test_sums.py",
    "report": "tests/report/test_report.py",
    "suite": "tests/suite/test_plans.py",
    "suite cancel": "tests/suite/test_status.py",
    "suite logs": "tests/suite/test_status.py",
    "suite search": "tests/suite/search/test_verb.py",
    "suite status": "tests/suite/test_status.py",
    "verify": "tests/publication/test_verify.py",
}
#: First words of other commands, and why they are not executed here.
OTHER = {
    ".": "activates the environment",
    "cp": "copies a file, whose path tests/test_docs.py checks",
    "pip": "installs packages",
    "tensorboard": "starts a server; tests/training/test_board.py reads the events",
    "tools/quickstart": "installs packages and trains for minutes; its suite is tests/suite's",
    "tools/site": "tests/test_site.py builds the site",
    "tools/test": "is what executes this test",
}
#: Blocks of Python that a test of their own executes, by what they begin with.
EXECUTED_ELSEWHERE = {
    "# file:": "tests/test_plugin_page.py",
    "import torch": "tests/test_docs.py",  # the example of the library
}
PAGES_ELSEWHERE = {
    "docs/certified_variants.md": "tests/parametrizations/test_certified_variants_page.py",
    "docs/tutorial.md": "tests/test_tutorial.py",
}
#: Blocks that cannot be executed here, by their first lines.
NOT_EXECUTED = {
    'about = {"ssmbench.json": ""}': "reads an export; the conformance checks of exporters do",
    "#define NETWORK_DECLARATIONS": "C; tests/exporters/test_c.py compiles such a program",
    "from flax.traverse_util import flatten_dict": "needs JAX and Flax, and a model of theirs",
    "leaves, _ = jax.tree_util.tree_flatten_with_path": "needs JAX and Equinox",
    "parametrization() -> ContinuousSystem": "a diagram",
    "batch_size x ranks / sequence_parallel": "a formula",
    "out of memory in the backward pass": "a message",
}


def reason_against(block: Block) -> str:
    """Why a block is not executed; '' if it is to be."""
    return next((why for head, why in NOT_EXECUTED.items() if block.head.startswith(head)), "")


def elsewhere(block: Block) -> str:
    """The test file that executes a block of Python; '' if this one does."""
    named = (test for head, test in EXECUTED_ELSEWHERE.items() if block.head.startswith(head))
    return next(named, PAGES_ELSEWHERE.get(block.page, ""))


def verb_of(words: list[str]) -> str:
    """The verb of a command, with that of its group where the tables above have it."""
    two = " ".join(words[1:3])
    return two if two in AT_ONCE or two in ELSEWHERE else words[1]


def arguments_of(words: list[str]) -> list[str] | None:
    """The arguments that ssmbench is called with, also by torchrun or with variables set."""
    if "ssmbench" not in words:
        return None
    return words[words.index("ssmbench") + 1 :]


# --- every block is accounted for ---------------------------------------------------------------


def test_no_block_is_in_an_unknown_language():
    known = {"bash", "python", "yaml", "math"}
    assert [str(b) for b in blocks() if b.language not in known and not reason_against(b)] == []


def test_the_tests_that_the_tables_name_exist_and_no_reason_is_stale():
    named = {*ELSEWHERE.values(), *EXECUTED_ELSEWHERE.values(), *PAGES_ELSEWHERE.values()}
    assert [name for name in named if not (ROOT / name).exists()] == []
    heads = [block.head for block in blocks()]
    assert [h for h in NOT_EXECUTED if not any(head.startswith(h) for head in heads)] == []


def test_code_is_in_fenced_blocks():
    """An indented block has no language, and would not be found here."""
    for page in PAGES:
        outside = re.sub(r"^```.*?^```$", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
        indented = re.findall(r"(?<=\n\n) {4}(?![-*\d ]).*", outside)
        assert indented == [], page.name


# --- commands -----------------------------------------------------------------------------------

COMMANDS = [(str(b), words) for b in blocks("bash") for words in commands(b)]
OURS = {
    " ".join(arguments): (place, arguments)
    for place, words in COMMANDS
    if (arguments := arguments_of(words)) is not None
}


def test_other_commands_are_known():
    others = [(place, words[0]) for place, words in COMMANDS if arguments_of(words) is None]
    assert [(place, first) for place, first in others if first not in OTHER] == []


@pytest.fixture
def folder(workplace: Path) -> Path:
    """What the pages assume: the configs and the example plugin."""
    (workplace / "configs").symlink_to(ROOT / "configs")
    (workplace / "plugins").symlink_to(ROOT / "plugins")
    return workplace


def test_commands(folder, ssmbench):
    failed = {}
    for place, arguments in OURS.values():
        write_system(folder / "system.npz", continuous="discretize" in arguments)
        answer = ssmbench(*executed(arguments))
        if answer.code:
            failed[f"{place}: {' '.join(arguments)}"] = answer.err[-500:]
    assert failed == {}


def write_system(file: Path, continuous: bool) -> None:
    """A system of the reader's own: x' = -x / 2 + u or x[k+1] = -x[k] / 2 + u[k], y = x."""
    one = np.array([[1.0]])
    np.savez(file, A=-one / 2, B=one, C=one, D=0 * one, dt=0.0 if continuous else 1.0)


def executed(arguments: list[str]) -> list[str]:
    """What is called for a command: itself, or a form of it that takes no time."""
    given = ["digits_s4d" if word == "CONFIG" else word for word in arguments]
    verb = verb_of(["ssmbench", *given])
    if verb in AT_ONCE or (verb == "gain" and "system.npz" in given):
        return given
    # Several machines; a reduced run, which tests/runs/test_reducing.py trains.
    if verb == "run" and not any(w.startswith(("trainer.num_nodes", "start=RUN")) for w in given):
        return given if "--dry-run" in given else [*given, "--dry-run"]
    assert verb in {*ELSEWHERE, "gain", "run"}, f"say which test executes ssmbench {verb}"
    return [*given, "--help"]  # which is refused where the verb or an option does not exist


def test_an_option_that_does_not_exist_is_found(ssmbench):
    assert ssmbench("attack", "run", "--steps", "3", "--help").code == 0
    assert ssmbench("attack", "run", "--step-count", "3", "--help").code == 2


# --- Python -------------------------------------------------------------------------------------

PYTHON = [b for b in blocks("python") if not reason_against(b) and not elsewhere(b)]


@pytest.mark.parametrize("block", PYTHON, ids=str)
def test_python(block, workplace, monkeypatch):
    def train(config: str, overrides: dict[str, Any]) -> Any:
        """What sb.train gives, of an untrained network."""
        model = sb.network(config, overrides)
        return types.SimpleNamespace(model=model, scores=None, gains=None)

    (workplace / "configs").symlink_to(ROOT / "configs")
    register_damped_modes(workplace)
    monkeypatch.setattr(sb, "train", train)
    names: dict[str, Any] = {"ParameterOptions": ParameterOptions}
    exec(block.text, names)
    if "optimizer_options" in names:
        assert names["optimizer_options"](None)["C"].decay


def register_damped_modes(folder: Path) -> None:
    """Write the plugin that docs/writing_a_plugin.md begins with into ``./plugins``."""
    (file,) = (b for b in blocks("python") if b.head == "# file: damped_modes.py")
    (folder / "plugins").mkdir()
    (folder / "plugins" / "damped_modes.py").write_text(file.text)


# --- YAML ---------------------------------------------------------------------------------------


WORKFLOWS = [block for block in blocks("yaml") if block.head.startswith("# .github/workflows/")]


@pytest.mark.parametrize("block", WORKFLOWS, ids=str)
def test_workflows(block, ssmbench):
    """Those of GitHub: their commands of ssmbench exist."""
    jobs = yaml.safe_load(block.text)["jobs"].values()
    steps = [step.get("run", "").split() for job in jobs for step in job["steps"]]
    ours = [words for words in steps if words[:1] == ["ssmbench"]]
    assert ours
    assert [words for words in ours if ssmbench(*words[1:], "--help").code] == []


CONFIGS = [b for b in blocks("yaml") if b not in WORKFLOWS and b.page not in PAGES_ELSEWHERE]


@pytest.mark.parametrize("block", CONFIGS, ids=str)
def test_yaml(block, workplace):
    (workplace / "block.yaml").write_text(block.text)
    content = read_yaml(workplace / "block.yaml")
    if "search" in content:
        searches = read_searches(content["search"], "search", ["S4D-Lin", "S5"])
        assert set(searches) == {"S4D-Lin", "S5"}
    elif "defaults" in content:
        (workplace / "lab.yaml").write_text(yaml.safe_dump({"seeds": 2}))
        assert load_places(workplace / "block.yaml")  # and every selector matches a run
    else:
        resolve(content, "config")
