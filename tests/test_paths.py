"""Paths that a user gives are expanded once, at the entrance."""

from __future__ import annotations

import pytest

from ssmbench.errors import UsageError
from ssmbench.paths import absolute
from ssmbench.tasks.data import DATA_VARIABLE
from tests.cli.test_verbs import one_error
from tests.strict_json import strict_json


def test_the_whole_of_a_run_is_where_the_output_says(ssmbench, write, tiny, workplace, monkeypatch):
    monkeypatch.setenv("HOME", str(workplace / "home"))
    monkeypatch.setenv("FOO", "b")
    for given, meant in (("~/x", "home/x"), ("a_$FOO", "a_b"), ("a_$NO_SUCH", "a_$NO_SUCH")):
        answer = ssmbench("run", write("mine.yaml", tiny), f"--output={given}", "--json")
        folder = workplace / meant
        assert strict_json(answer.out)["folder"].startswith(f"{folder}/")
        assert list(folder.rglob("events.out.tfevents*"))
    tops = {path.name for path in workplace.iterdir() if path.is_dir()}
    assert tops == {"home", "a_b", "a_$NO_SUCH"}


def test_a_users_folder_that_there_is_not_is_one_line(ssmbench, write, tiny, monkeypatch):
    monkeypatch.setenv(DATA_VARIABLE, "~nosuchuser/data")
    file = write("mine.yaml", tiny | {"task": "cascaded_tanks"})
    assert "SSMBENCH_DATA '~nosuchuser/data': there is no such user" in one_error(
        ssmbench("run", file)
    )
    assert "there is no such user" in one_error(ssmbench("run", file, "-o", "~nosuchuser/x"))


@pytest.mark.parametrize("given", ["a\0b", "\ud800"])
def test_a_name_that_no_file_can_have_is_refused(given):
    with pytest.raises(UsageError, match="not a name"):
        absolute(given)
