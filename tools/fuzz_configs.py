"""Give randomly damaged run and suite configs to the command line and check its answers.

    python tools/fuzz_configs.py --count 1000 --seed 0
    python tools/fuzz_configs.py --count 1 --seed 0 --first 417 --show # one case, in full

Each case is a bundled config with a few random mutations, and sometimes overrides, checked by
``ssmbench run --dry-run`` or ``ssmbench suite --dry-run``. A correct answer has exit code 0 and
JSON, or exit code 2 and exactly one line on standard error; never a traceback, nor a warning that
names a source file.
"""

from __future__ import annotations

import argparse
import contextlib
import copy
import functools
import io
import random
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from ssmbench import cli, jsonio, registry

ROOT = Path(__file__).resolve().parents[1]
#: Limits for one case: seconds, and bytes of memory.
TIME, MEMORY = 60, 24 * 2**30
LONGEST_LINE = 2100

NUMBERS = [
    *(0, 1, -1, 3, 2**31, 2**32, 2**63, -(2**63) - 1, 10**30, 100_000, 0.5, -0.5, 1.0),
    *(1e18, 1e308, -1e308, 1e-320, float("nan"), float("inf"), float("-inf")),
]
TEXTS = [
    *("", " ", "nan", "inf", "none", "null", "~", "abc", "a" * 300, "b" * 100_000),
    *("日本語", "é\n±", "\u200b", "\x07", "a\x00b", "\ud800", "???", "%s%n", "[/bold]", "--json"),
    *("${seed}", "${nowhere}", "${", "${oc.env:NO_SUCH_VARIABLE}", "${model}", "${variant}"),
    *("../../x", "~nosuchuser/x", "a/b", ".hidden", "$HOME", "2020-01-01", "1_000", "0x10"),
    *("s4d", "l2ru", "zoh", "all", "auto", "cpu", "1e3", "-5"),
]
CONTAINERS: list[Any] = [
    *(None, True, False, [], {}, [1, 2], ["zoh"], [[]], [None], {"a": 1}, {1: 2}),
    *({"name": 3}, {"name": None}, {"name": "zoh", "x": 1}, {"name": "s4d", "d_state": []}),
]
#: Inserted into the text verbatim: YAML that a library would not write.
RAW = [
    *("!!float x", "!!int x", "!!bool x", "!!null x", "!!str", "!!timestamp x", "!!set {a, b}"),
    *("!!binary aGVsbG8=", "!!binary '%'", "!!omap [a: 1]", "!x y", "2020-01-01T00:00:00Z"),
    *("!!python/object/apply:os.system ['exit 3']", "&a [*a]", "*none", "{<<: 3}", "{? [a]: 1}"),
    *("0x" + "f" * 5000, "9" * 5000, "'", "[", "@", "`", "|\n text", "[" * 3000),
    *("[" * 60 + "]" * 60, "{a: " * 60 + "1" + "}" * 60),
    "[&a [1,1,1,1,1,1,1,1], &b [*a,*a,*a,*a,*a,*a,*a], &c [*b,*b,*b,*b,*b,*b,*b], [*c,*c,*c]]",
]
OPTIONS = [
    *("max_time", "deterministic", "accelerator", "strategy", "precision", "devices", "profiler"),
    *("limit_val_batches", "accumulate_grad_batches", "gradient_clip_val", "val_check_interval"),
    *("plugins", "benchmark", "num_nodes", "fast_dev_run", "overfit_batches", "barebones"),
    *("logger", "max_epochs", "max_steps", "min_epochs", "gradient_clip_algorithm"),
]
KEYS = [
    *("seed", "variant", "batch_size", "model", "model.d_model", "model.parametrization.d_state"),
    *("model.discretizer", "optimizer.lr", "task.split_seed", "trainer.max_epochs", "a.b.c", "="),
    *("a" + ".a" * 300, "model[0]", "model..x", "task.data_dir"),
]
ACCEPTED = ("warning: ", "plugins: ")


@dataclass(frozen=True)
class Case:
    """The text of a config, and the verb and overrides of the command that reads it."""

    number: int
    verb: str
    text: bytes
    overrides: tuple[str, ...]

    def arguments(self, folder: Path) -> list[str]:
        """Write the config into ``folder``; returns the arguments of the command."""
        file = folder / "case.yaml"
        file.write_bytes(self.text)
        plugins = ["--plugins", str(ROOT / "plugins")]
        return [self.verb, str(file), "--dry-run", "--json", *plugins, *self.overrides]


@dataclass(frozen=True)
class Answer:
    """Exit code and output of the command for one case."""

    code: int
    out: str
    err: str


def cases(seed: int, count: int, first: int = 0) -> Iterator[Case]:
    """Cases number ``first`` to ``first + count - 1`` of a seed."""
    shipped = [
        (folder.removesuffix("s"), yaml.safe_load(file.read_text(encoding="utf-8")))
        for folder in ("runs", "suites")
        for file in sorted((ROOT / "configs" / folder).glob("*.yaml"))
    ]
    for number in range(first, first + count):
        draw = random.Random(f"{seed}/{number}")
        verb, content = draw.choice(shipped)
        yield _case(number, verb, copy.deepcopy(content), draw)


def _case(number: int, verb: str, content: Any, draw: random.Random) -> Case:
    raw: dict[str, str] = {}
    for _ in range(draw.choice((1, 1, 1, 2, 3))):
        content = draw.choice(MUTATIONS)(content, draw, raw)
    text = _dump(content)
    for placeholder, inserted in raw.items():
        text = text.replace(placeholder, inserted)
    if draw.random() < 0.05:
        text = _garbled(text, draw)
    overrides = [_override(draw) for _ in range(draw.choice((0, 0, 0, 0, 0, 1, 2)))]
    return Case(number, verb, text.encode("utf-8", "surrogatepass"), tuple(overrides))


def _dump(content: Any) -> str:
    try:
        return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=10**9)
    except yaml.YAMLError:
        return repr(content)


# --- mutations ----------------------------------------------------------------------------------


def _unusual(draw: random.Random, raw: dict[str, str]) -> Any:
    kind = draw.choice((NUMBERS, TEXTS, CONTAINERS, RAW))
    value = copy.deepcopy(draw.choice(kind))
    if kind is not RAW:
        return value
    placeholder = f"RAW{len(raw)}RAW"
    raw[placeholder] = value
    return placeholder


def _places(content: Any) -> list[tuple[Any, Any]]:
    """Every pair (container, key) in a config, at any depth."""
    found: list[tuple[Any, Any]] = []
    if isinstance(content, dict):
        found += [(content, key) for key in content]
        found += [place for value in content.values() for place in _places(value)]
    elif isinstance(content, list):
        found += [(content, index) for index in range(len(content))]
        found += [place for value in content for place in _places(value)]
    return found


def _replace(content: Any, draw: random.Random, raw: dict[str, str]) -> Any:
    places = _places(content)
    if not places:
        return _unusual(draw, raw)
    holder, key = draw.choice(places)
    holder[key] = _unusual(draw, raw)
    return content


def _remove(content: Any, draw: random.Random, raw: dict[str, str]) -> Any:
    places = _places(content)
    if places:
        holder, key = draw.choice(places)
        del holder[key]
    return content


def _rename(content: Any, draw: random.Random, raw: dict[str, str]) -> Any:
    places = [(holder, key) for holder, key in _places(content) if isinstance(holder, dict)]
    if places:
        holder, key = draw.choice(places)
        new = draw.choice((f"{key}x", str(key)[1:], str(key).upper(), draw.choice(TEXTS), 3, 2.5))
        holder[new] = holder.pop(key)
    return content


def _wrap(content: Any, draw: random.Random, raw: dict[str, str]) -> Any:
    places = _places(content)
    if not places:
        return [content]
    holder, key = draw.choice(places)
    holder[key] = draw.choice(([holder[key]], {"name": holder[key]}, {"a": holder[key]}))
    return content


def _swap(content: Any, draw: random.Random, raw: dict[str, str]) -> Any:
    places = _places(content)
    if places:
        (one, k), (other, m) = draw.choice(places), draw.choice(places)
        one[k], other[m] = copy.deepcopy(other[m]), copy.deepcopy(one[k])
    return content


def _option(content: Any, draw: random.Random, raw: dict[str, str]) -> Any:
    """An unusual value for one of the trainer's options."""
    holder = content
    if isinstance(content, dict) and "base" in content:
        holder = content["base"]
    if isinstance(holder, dict) and isinstance(holder.setdefault("trainer", {}), dict):
        holder["trainer"][draw.choice(OPTIONS)] = _unusual(draw, raw)
    return content


def _nudge(content: Any, draw: random.Random, raw: dict[str, str]) -> Any:
    """Replace a number by another plausible one, or a component by another registered one."""
    places = [(h, k) for h, k in _places(content) if type(h[k]) in (int, float)]
    named = [(h, k) for h, k in _places(content) if isinstance(h[k], str) and h[k] in _names()]
    if places and draw.random() < 0.6:
        holder, key = draw.choice(places)
        holder[key] = draw.choice((0, 1, 2, 7, 1000, 0.3, -holder[key], 3 * holder[key]))
    elif named:
        holder, key = draw.choice(named)
        holder[key] = draw.choice(_names())
    return content


@functools.cache
def _names() -> list[str]:
    registry.add_plugin_paths([ROOT / "plugins"])
    return [entry.name for kind in registry.KINDS.values() for entry in kind]


def _anything(content: Any, draw: random.Random, raw: dict[str, str]) -> Any:
    return _unusual(draw, raw) if draw.random() < 0.2 else _replace(content, draw, raw)


Mutation = Callable[[Any, random.Random, dict[str, str]], Any]
MUTATIONS: list[Mutation] = [
    *(_replace, _replace, _nudge, _nudge, _nudge, _nudge, _nudge),
    *(_remove, _rename, _wrap, _swap, _option, _anything),
]
INSERTED = ("\t", "\x00", "\ufeff", ": ", "- ", "&a ", "*a ", "%", "'", "{", "\r", "---\n")


def _garbled(text: str, draw: random.Random) -> str:
    place = draw.randrange(len(text) + 1)
    inserted = draw.choice(INSERTED)
    return draw.choice((text[:place], text[:place] + inserted + text[place:], text[place:]))


def _override(draw: random.Random) -> str:
    keys = [*KEYS, f"trainer.{draw.choice(OPTIONS)}"]
    value = draw.choice([*map(str, NUMBERS), *TEXTS, *RAW, "null", "{a: 1}", "[1"])
    # no process can be started with a null byte or a lone surrogate in its arguments
    value = value.replace("\x00", "").encode("utf-8", "replace").decode()
    return f"{draw.choice(keys)}={value[:5000]}"


# --- answers ------------------------------------------------------------------------------------


def answer_here(case: Case, folder: Path) -> Answer:
    """The answer of the command line in this process."""
    out, err = io.StringIO(), io.StringIO()
    saved, sys.argv = sys.argv, ["ssmbench", *case.arguments(folder)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            cli.main()
    except SystemExit as stopped:
        code = stopped.code or 0
    finally:
        sys.argv = saved
    return Answer(code, out.getvalue(), err.getvalue())


def answer_in_a_process(case: Case, folder: Path) -> Answer:
    """The answer of the command line in a separate process."""
    command = [sys.executable, "-m", "ssmbench", *case.arguments(folder)]
    done = subprocess.run(command, cwd=folder, capture_output=True, check=False)
    out, err = (text.decode("utf-8", "replace") for text in (done.stdout, done.stderr))
    return Answer(done.returncode, out, err)


def fault(answer: Answer) -> str | None:
    """What is wrong with an answer; None if it is correct."""
    lines = [line for line in answer.err.splitlines() if not line.startswith(ACCEPTED)]
    if "Traceback" in answer.err:
        return "a traceback"
    if answer.code == 0:
        return _not_json(answer.out) or ("text on stderr" if lines else None)
    if answer.code != 2:
        return f"exit code {answer.code}"
    if len(lines) != 1 or not lines[0].startswith("error: ") or len(lines[0]) > LONGEST_LINE:
        return f"{len(lines)} lines on stderr, or one too long"
    return "output in addition to the error" if answer.out else None


def _not_json(text: str) -> str | None:
    try:
        jsonio.loads(text)
    except ValueError as error:
        return f"no JSON: {error}"
    return None


Answerer = Callable[[Case, Path], Answer]


def attempt(case: Case, folder: Path, answer: Answerer) -> tuple[str | None, Answer]:
    """The fault of the answer to a case (None if correct), and the answer."""
    try:
        with _time_limit():
            given = answer(case, folder)
    except Exception as error:
        return f"{type(error).__name__}: {error}", Answer(-1, "", "")
    return fault(given), given


@contextlib.contextmanager
def _time_limit() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise TimeoutError(f"no answer in {TIME} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(TIME)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument(
        "--processes", type=int, default=20, help="every n-th case in a separate process"
    )
    parser.add_argument("--show", action="store_true", help="print every case and its answer")
    options = parser.parse_args()
    # a huge size that is not refused may end this process, but not the machine
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    start, codes, wrong = time.perf_counter(), Counter[int](), 0
    with tempfile.TemporaryDirectory() as place, contextlib.chdir(place):
        for case in cases(options.seed, options.count, options.first):
            separate = options.processes and case.number % options.processes == 0
            answer = answer_in_a_process if separate else answer_here
            problem, given = attempt(case, Path(place), answer)
            codes[given.code] += 1
            wrong += problem is not None
            if problem or options.show:
                print(f"--- case {case.number}: {problem}\n{case.verb} {case.overrides}")
                print(case.text.decode("utf-8", "replace")[:3000], given.err[-3000:], flush=True)
    seconds = time.perf_counter() - start
    print(f"{options.count} cases, {wrong} wrong, exit codes {dict(codes)}, {seconds:.0f} s")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
