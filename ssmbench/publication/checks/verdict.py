"""What is found out about a published run, and about the folder."""

from __future__ import annotations

from dataclasses import dataclass

from ssmbench.errors import UsageError
from ssmbench.results import Record

ACCEPTED, REJECTED, NOT_VERIFIED = "accepted", "rejected", "not verified"


class NeedsPluginError(UsageError):
    """A run needs a plugin that the caller does not have: nothing can be said about it."""


@dataclass(frozen=True)
class Findings(Record):
    """What the checks of one run found: why it is not accepted, and what they could not check.

    ``declared``, ``verified``, ``network_bound``, ``test``: computed from the weights again;
    ``seconds``: wall time. ``failed``: the checks did not come to an end.
    """

    rejected: tuple[str, ...] = ()
    not_verified: tuple[str, ...] = ()
    not_checked: tuple[str, ...] = ()
    declared: float | None = None
    verified: float | None = None
    network_bound: float | None = None
    test: float | None = None
    seconds: float = 0.0
    failed: bool = False


@dataclass(frozen=True)
class Verdict(Record):
    """Whether a published run is accepted; ``reasons`` why not."""

    fingerprint: str
    label: str
    outcome: str
    reasons: tuple[str, ...]
    not_checked: tuple[str, ...]
    findings: Findings

    @property
    def accepted(self) -> bool:
        return self.outcome == ACCEPTED

    def __str__(self) -> str:
        if not self.reasons:
            return f"{self.label} ({self.fingerprint}): accepted"
        first, *others = self.reasons
        more = f" (and {len(others)} more)" if others else ""
        word = "REJECTED" if self.outcome == REJECTED else "not verified"
        return f"{self.label} ({self.fingerprint}): {word}: {first}{more}"
