"""The tighter bound of a published network, proved again from its weights."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ssmbench.analysis.certificate import Bound
from ssmbench.analysis.network_bound import NetworkBound
from ssmbench.config import AnalysisConfig
from ssmbench.nn.freeze import freeze
from ssmbench.nn.model import SequenceModel
from ssmbench.results import NetworkGains
from ssmbench.spec import Channels, TaskSizes
from ssmbench.training.network_bound import Bounds, tighter_bound

#: Billions of multiplications that a submission may ask of who checks it.
_MOST_WORK = 100.0
#: By how much the searches of two computers may end apart, relatively.
SEARCH = 0.02


@dataclass
class TighterCheck:
    """What proves a tighter bound again: the sizes of the task, and billions of multiplications.

    ``found``: what :meth:`bound` has proved.
    """

    sizes: TaskSizes
    budget: float
    found: NetworkBound = field(
        default_factory=lambda: NetworkBound(math.inf, "none is said to be there")
    )

    @staticmethod
    def of(sizes: TaskSizes, config: Mapping[str, Any]) -> TighterCheck:
        """As the run's config asks."""
        analysis = config.get("analysis")
        given = analysis.get("network_bound") if isinstance(analysis, Mapping) else None
        budget = given if isinstance(given, int | float) else AnalysisConfig().network_bound
        return TighterCheck(sizes, min(float(budget), _MOST_WORK))

    def bound(
        self,
        model: SequenceModel,
        composed: Bound,
        layer_gains: Sequence[float | None],
        said: NetworkGains,
    ) -> Bound:
        """The smaller one of the composed bound and, where one is said, of the tighter one."""
        lengths = said.bound_lengths
        if not lengths or not self._plausible(lengths):
            return composed
        kind = self.sizes.input
        channels = kind.count if isinstance(kind, Channels) else 0
        every = tuple(sorted(set(lengths)))
        self.found = tighter_bound(
            freeze(model), composed, layer_gains, channels, every, self.budget
        )
        return Bounds(composed, self.found).least

    def notes(self, said: NetworkGains) -> Iterator[str]:
        """What cannot be known without the data."""
        if said.bound_lengths and max(said.bound_lengths) != self.sizes.length:
            longest = max(said.bound_lengths)
            yield f"that no sequence has more than {longest} steps, as the tighter bound needs"

    def faults(self, found: Bound, said: NetworkGains, slack: float) -> Iterator[str]:
        """Where the submitted bound is smaller than what is proved here."""
        if said.bound < found.value * (1 - slack - SEARCH) and math.isfinite(said.bound):
            yield f"network: bound is {said.bound:.6g}, but {found.value:.6g} is proved here"

    def _plausible(self, lengths: Sequence[int]) -> bool:
        return min(lengths) >= 1 and max(lengths) <= self.sizes.length
