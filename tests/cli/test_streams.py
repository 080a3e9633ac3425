"""Standard output holds a verb's answer and nothing else, whoever writes to it."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ssmbench import cli
from ssmbench.cli import streams
from ssmbench.cli.verb import Verb
from ssmbench.registry import PLUGINS_VARIABLE
from ssmbench.tasks.data import DATA_VARIABLE
from tests.strict_json import strict_json

CHATTY = '''
import atexit
import ctypes
import os
import sys

from ssmbench.discretizers.exact import ZeroOrderHold
from ssmbench.registry import discretizers

LIBC = ctypes.CDLL(None)


def talk(when):
    print("print", when)
    sys.stdout.write(f"write {when}\\n")
    print("original", when, file=sys.__stdout__)
    os.write(1, f"descriptor {when}\\n".encode())
    LIBC.printf(f"C {when}\\n".encode())
    os.system(f"echo child {when}")


talk("on import")
atexit.register(talk, "at exit")


@discretizers.register("chatty")
class Chatty(ZeroOrderHold):
    """Zero-order hold, with words."""

    def __call__(self, system):
        talk("in use")
        return super().__call__(system)
'''

WAYS = ("print", "write", "original", "descriptor", "C", "child")


def in_a_process(*arguments: str, cwd: Path, **environment: str) -> subprocess.CompletedProcess:
    unset = (PLUGINS_VARIABLE, DATA_VARIABLE, "PYTHONIOENCODING", "LC_ALL")
    plain = {k: v for k, v in os.environ.items() if k not in unset}
    return subprocess.run(
        [sys.executable, "-m", "ssmbench", *arguments],
        cwd=cwd,
        env=plain | environment,
        capture_output=True,
        check=False,
    )


def test_what_a_plugin_writes_to_descriptor_1_goes_to_standard_error(tmp_path):
    (tmp_path / "plugins").mkdir()
    (tmp_path / "plugins" / "chatty.py").write_text(CHATTY)
    one = np.ones((1, 1))
    np.savez(tmp_path / "system.npz", A=-one, B=one, C=one, D=0 * one)
    call = "discretize system.npz --method chatty --dt 0.1 --out discrete.npz --json"
    done = in_a_process(*call.split(), cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert strict_json(done.stdout.decode())["hinf"] == pytest.approx(1.0)
    said = done.stderr.decode()
    for when in ("on import", "in use", "at exit"):
        assert [way for way in WAYS if f"{way} {when}\n" not in said] == []


def test_every_verb_keeps_its_answer_apart():
    import typer

    waiting = [typer.main.get_command(cli.app)]
    verbs = []
    while waiting:
        command = waiting.pop()
        inner = getattr(command, "commands", None)
        waiting += inner.values() if inner else []
        verbs += [] if inner else [command]
    assert len(verbs) >= 9
    assert all(isinstance(verb, Verb) for verb in verbs)


@pytest.mark.parametrize("encoding", ["ascii", "latin-1"])
def test_characters_that_the_terminal_lacks_are_replaced(encoding, tmp_path):
    (tmp_path / "plugins").mkdir()
    source = (
        "from ssmbench.launchers.base import Launcher\n"
        "from ssmbench.registry import launchers\n\n"
        "launchers.register('測試', summary='é ± 中')(Launcher)\n"
    )
    (tmp_path / "plugins" / "foreign.py").write_text(source, encoding="utf-8")
    answer = in_a_process("list", "launchers", cwd=tmp_path, PYTHONIOENCODING=encoding)
    assert answer.returncode == 0, answer.stderr
    assert rb"\u6e2c\u8a66" in answer.stdout
    assert (b"\xe9 \xb1" if encoding == "latin-1" else rb"\xe9 \xb1") in answer.stdout
    refused = in_a_process("list", "測試", cwd=tmp_path, PYTHONIOENCODING=encoding)
    assert (refused.returncode, refused.stdout) == (2, b"")
    assert rb"unknown kind '\u6e2c\u8a66'" in refused.stderr
    assert refused.stderr.count(b"\n") == 1


@pytest.mark.parametrize("closed", [">&-", ">&- 2>&-", "> /dev/full", "| true"])
def test_a_standard_output_that_cannot_be_written_is_no_traceback(closed, tmp_path):
    if "full" in closed and not Path("/dev/full").exists():
        pytest.skip("this system has no /dev/full")
    command = f"'{sys.executable}' -m ssmbench list launchers --json {closed}"
    done = subprocess.run(command, shell=True, cwd=tmp_path, capture_output=True, check=False)
    assert b"Traceback" not in done.stderr
    assert b"Exception" not in done.stderr


@pytest.mark.parametrize(("no_color", "red"), [("", True), ("1", False)])
def test_warnings_are_red_on_a_terminal_that_wants_colours(no_color, red, monkeypatch):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("NO_COLOR", no_color)
    monkeypatch.setattr(sys, "stderr", terminal := Terminal())
    streams.warn("violated [bound]: 35 > 5")
    assert ("\x1b[1;31m" in terminal.getvalue()) == red
    assert "warning: violated [bound]: 35 > 5" in terminal.getvalue()
    monkeypatch.setattr(sys, "stderr", plain := io.StringIO())
    streams.warn("violated [bound]: " + 200 * "x")
    assert plain.getvalue() == f"warning: violated [bound]: {200 * 'x'}\n"
