"""A complete run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from ssmbench.results.parts import (
    Certified,
    Environment,
    FurtherTest,
    Gains,
    ImportedFrom,
    RobustnessPoint,
    Scores,
    TaskFacts,
)
from ssmbench.results.provenance import Provenance
from ssmbench.results.record import Record, ResultError
from ssmbench.results.schema import SCHEMA, migrated
from ssmbench.results.truncation import Truncation


@dataclass(frozen=True)
class Result(Record):
    """A complete run, ``finished`` or ``diverged`` (which has no scores).

    ``diverged_at`` is the step of the first loss that is not finite; ``seconds`` is the wall time
    of training and measurement, over all sittings (``provenance``). ``imported``: where the weights
    are from, if they were not trained here; without a task such a run has no scores either.
    ``notes``: what else happened in training, for example that it was stopped early.
    ``certified``: what is proved of the predictions; None where robustness was not measured, and in
    earlier results. ``effective_batch``: sequences of one optimizer step, over all ranks.
    ``truncations``: those in training, the first one first.
    """

    status: str
    diverged_at: int | None
    scores: Scores | None
    task: TaskFacts
    gain: Gains
    robustness: tuple[RobustnessPoint, ...]
    parameters: int
    steps_per_second: float | None
    environment: Environment
    fingerprint: str = ""
    warnings: tuple[str, ...] = ()
    variant: str = ""
    parametrization: str = ""
    discretizer: str | None = None
    seed: int = 0
    steps: int | None = None
    seconds: float | None = None
    imported: ImportedFrom | None = None
    further_tests: tuple[FurtherTest, ...] = ()
    notes: tuple[str, ...] = ()
    effective_batch: int | None = None
    provenance: Provenance | None = None
    certified: Certified | None = None
    truncations: tuple[Truncation, ...] = ()
    schema: int = SCHEMA

    @property
    def diverged(self) -> bool:
        return self.status == "diverged"

    @classmethod
    def from_dict(cls, data: Any, source: str = "result") -> Self:
        """A result of schema 2 or 3, as the rule of ``ssmbench.results`` says.

        Raises:
            SchemaError: of another schema.
            ResultError: a key is missing, or a value is of another type.
        """
        if not isinstance(data, Mapping):
            raise ResultError(f"{source}: not a result")
        result = super().from_dict(migrated(data, source), source)
        if result.status not in ("finished", "diverged"):
            raise ResultError(f"{source}: status: must be finished or diverged")
        if not (result.diverged or result.imported) and result.scores is None:
            raise ResultError(f"{source}: scores: missing from a finished run")
        return result
