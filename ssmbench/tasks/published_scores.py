"""Scores of publications, for the tasks that they report on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from ssmbench.results import PublishedScore


@dataclass(frozen=True)
class Publication:
    """Where scores are reported: ``source``, in which table; ``selected_on`` and ``note`` as in
    :class:`~ssmbench.results.PublishedScore`."""

    source: str
    selected_on: str = "not stated"
    note: str = ""

    def accuracy(self, model: str, percent: float, **about: str) -> PublishedScore:
        """A score that is reported in percent, as a fraction; ``about`` replaces what holds for
        the publication's other scores."""
        known = {"selected_on": self.selected_on, "note": self.note} | about
        return PublishedScore(model, round(percent / 100, 6), self.source, **known)


def as_published(config: Any, free: Sequence[str]) -> bool:
    """Whether every option that is not among ``free`` has its default.

    For tasks whose defaults are the published ones; ``free`` names what a score does not depend on.
    """
    compared = (field for field in fields(config) if field.name not in free)
    return all(getattr(config, field.name) == field.default for field in compared)


S4D = Publication("A. Gu et al., S4D, NeurIPS 2022, arXiv 2206.11893")
S5 = Publication("J. Smith et al., S5, ICLR 2023, arXiv 2208.04933")
