"""The report on an entry: every conformance check by name, passed, failed or skipped."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, fields, replace
from typing import Any, TypeVar

import torch

from ssmbench.errors import UsageError, one_line
from ssmbench.origins import plugin_line, with_plugin_line
from ssmbench.registry import Entry

T = TypeVar("T")


@dataclass(frozen=True)
class Subject:
    """An entry to check; ``given`` is an instance of its config class, or None for the defaults."""

    entry: Entry
    given: Any = None

    @property
    def options(self) -> Any:
        """An instance of the entry's config class."""
        return self.entry.config() if self.given is None else self.given

    def build(self, options: Any = None, **context: Any) -> Any:
        """What the factory of the entry builds from ``options``, by default :attr:`options`."""
        return self.entry.build(self.options if options is None else options, **context)

    def with_each_flag(self) -> list[Subject]:
        """The subject, and the same with each option that is true or false the other way."""
        options = self.options
        flags = [f.name for f in fields(options) if isinstance(getattr(options, f.name), bool)]
        others = [replace(options, **{name: not getattr(options, name)}) for name in flags]
        return [self, *(replace(self, given=other) for other in others)]


#: One check of an entry: it raises AssertionError if it fails, and NotApplicable to be skipped.
#: Reports show its name, with spaces for underscores.
CheckFunction = Callable[[Subject], None]


class NotApplicable(Exception):
    """Raised by a check that does not apply to an entry; the message gives the reason."""


def skip_unless(condition: bool, reason: str) -> None:
    """Skip the running check, for the stated reason, unless ``condition`` holds."""
    if not condition:
        raise NotApplicable(reason)


def skip_if_none(value: T | None, reason: str) -> T:
    """The value; if it is None, the running check is skipped for the stated reason."""
    if value is None:
        raise NotApplicable(reason)
    return value


@dataclass(frozen=True)
class Check:
    """The outcome of one check; ``reason`` says why it failed or was skipped."""

    name: str
    passed: bool
    reason: str = ""
    skipped: bool = False

    def __str__(self) -> str:
        """One line: outcome, name, and the reason if there is one."""
        outcome = "skipped" if self.skipped else "passed" if self.passed else "FAILED"
        return f"{outcome:8}{self.name}" + (f": {self.reason}" if self.reason else "")


@dataclass(frozen=True)
class ConformanceReport:
    """The outcomes of all checks of one entry, in the order in which they ran.

    ``origin`` is the file:line of the entry's registration.
    """

    kind: str
    name: str
    origin: str
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether no check failed."""
        return all(check.passed or check.skipped for check in self.checks)

    def raise_for_failures(self) -> None:
        """Raise an AssertionError that lists every check, if one failed."""
        if not self.ok:
            raise AssertionError(str(self))

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return {"ok": self.ok, **asdict(self)}

    def __str__(self) -> str:
        """A line about the entry, then one line for each check."""
        failed = sum(not (check.passed or check.skipped) for check in self.checks)
        outcome = f"{failed} of {len(self.checks)} checks failed" if failed else "all checks passed"
        head = f"{self.kind} {self.name} ({self.origin}): {outcome}"
        return "\n  ".join([head, *map(str, self.checks)])


def run_checks(
    subject: Subject,
    checks: Iterable[CheckFunction],
    seed: int = 0,
) -> ConformanceReport:
    """Run the checks; each starts from the same seed, so that none depends on another.

    The first check builds the entry: if it fails, the others are skipped.
    """
    results: list[Check] = []
    for check in checks:
        broken = bool(results) and not results[0].passed
        cannot = Check(_name(check), False, "the entry cannot be built", skipped=True)
        results.append(cannot if broken else _run(check, subject, seed))
    entry = subject.entry
    return ConformanceReport(entry.kind, entry.name, entry.origin, tuple(results))


def _run(check: CheckFunction, subject: Subject, seed: int) -> Check:
    name = _name(check)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            check(subject)
    except NotApplicable as reason:
        return Check(name, False, str(reason), skipped=True)
    except AssertionError as error:
        return Check(name, False, str(error) or "an assertion without a message failed")
    except UsageError as error:
        return Check(name, False, str(with_plugin_line(error)))
    except Exception as error:
        line = plugin_line(error)
        return Check(name, False, one_line(error) + (f" ({line})" if line else ""))
    return Check(name, True)


def _name(check: CheckFunction) -> str:
    return check.__name__.replace("_", " ")
