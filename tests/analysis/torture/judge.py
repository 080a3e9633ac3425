"""Whether a gain report keeps its word: what it does not call unproved must be right."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from mpmath import mp, mpf

from tests.analysis.torture.oracle import LEVEL, Figures

TOLERANCE = 1e-6
WIDEST = 1.01
#: Absolute errors that no double can avoid: of a radius beside 1, of a gain among the denormals.
RADIUS_FLOOR = 1e-15
GAIN_FLOOR = 1e-321
LARGEST = mpf(2) ** 1024
#: What is kept of the truth has 15 digits, and a norm may be LEVEL too small.
KEPT = mpf("1e-14")


@dataclass(frozen=True)
class Answer:
    """What a report says; ``stable`` in a word."""

    discrete: bool
    stable: str
    hinf: float
    lower: float
    upper: float
    h2: float
    margin: float
    extent: float
    unproved: tuple[str, ...]

    @classmethod
    def of(cls, report: Any) -> Answer:
        stable = {True: "yes", False: "no", None: "unproved"}[report.stable]
        radius = report.spectral_radius
        return cls(
            discrete=report.time == "discrete",
            stable=stable,
            hinf=report.hinf,
            lower=report.hinf_lower_bound,
            upper=report.hinf_upper_bound,
            h2=report.h2,
            margin=report.margin,
            extent=report.spectral_abscissa if radius is None else radius,
            unproved=report.unproved,
        )

    @property
    def proved(self) -> bool:
        return not self.unproved and self.stable != "unproved"


def wrong(report: Any, truth: Figures) -> list[str]:
    """What is wrong with a report, a sentence each; empty for one that is right."""
    with mp.workdps(40):
        answer = Answer.of(report)
        checks = (_stability, _poles, _interval, _hinf, _h2)
        return [found for check in checks for found in check(answer, truth)]


def is_stable(truth: Figures) -> str:
    return "yes" if truth.margin > 0 else "no" if truth.margin < 0 else "on the boundary"


def _stability(answer: Answer, truth: Figures) -> list[str]:
    is_ = is_stable(truth)
    if answer.stable not in ("yes", "no", "unproved"):
        return [f"stable: {answer.stable!r}"]
    if answer.stable == "unproved":
        return [] if "stable" in answer.unproved else ["stable: unproved, yet not listed as such"]
    if "stable" in answer.unproved:
        return ["stable: listed as unproved, yet decided"]
    right = answer.stable == "yes" if is_ == "yes" else answer.stable == "no"
    return [] if right else [f"stable: {answer.stable}, is {is_} by {mp.nstr(truth.margin, 6)}"]


def _poles(answer: Answer, truth: Figures) -> list[str]:
    """Radius relative to itself, abscissa to the largest modulus of a pole; the margin likewise."""
    name = "spectral_radius" if answer.discrete else "spectral_abscissa"
    allowed = TOLERANCE * truth.scale + (RADIUS_FLOOR if answer.discrete else 0)
    found = []
    for figure, value, true in (
        (name, answer.extent, truth.extent),
        ("margin", answer.margin, truth.margin),
    ):
        same = value == true or abs(mpf(value) - true) <= allowed
        if figure not in answer.unproved and not same:
            found.append(f"{figure}: {value:.12g}, is {mp.nstr(true, 12)}")
    return found


def _interval(answer: Answer, truth: Figures) -> list[str]:
    """The bounds hold, whether or not the norm is called proved."""
    found, low, high = [], truth.hinf * (1 - KEPT), truth.hinf * (1 + mpf(LEVEL) + KEPT)
    if is_stable(truth) != "yes":
        high = mp.inf  # a system that no input drives may be given the gain of its D
    if math.isnan(answer.lower) or math.isnan(answer.upper):
        return ["hinf: a bound is NaN"]
    if answer.lower > high + GAIN_FLOOR:
        found.append(f"hinf_lower_bound: {answer.lower:.9g} is above {mp.nstr(truth.hinf, 12)}")
    if answer.upper < low - GAIN_FLOOR:
        found.append(f"hinf_upper_bound: {answer.upper:.9g} is below {mp.nstr(truth.hinf, 12)}")
    return found


def _hinf(answer: Answer, truth: Figures) -> list[str]:
    if "hinf" in answer.unproved:
        return []
    if math.isnan(answer.hinf) or not answer.lower <= answer.hinf <= answer.upper:
        return [f"hinf: {answer.hinf:.9g}, outside [{answer.lower:.9g}, {answer.upper:.9g}]"]
    if math.isinf(answer.hinf):
        right = truth.hinf * WIDEST >= LARGEST or is_stable(truth) != "yes"
        return [] if right else [f"hinf: inf, is {mp.nstr(truth.hinf, 12)}"]
    allowed = mpf(WIDEST - 1) * truth.hinf + GAIN_FLOOR
    if mp.isinf(truth.hinf) or abs(answer.hinf - truth.hinf) > allowed:
        return [f"hinf: {answer.hinf:.9g}, is {mp.nstr(truth.hinf, 12)}"]
    if answer.upper > WIDEST * answer.lower * (1 + KEPT) + GAIN_FLOOR:
        return [f"hinf: in [{answer.lower:.9g}, {answer.upper:.9g}], wider than 1%"]
    return []


def _h2(answer: Answer, truth: Figures) -> list[str]:
    if "h2" in answer.unproved:
        return []
    if math.isinf(answer.h2):
        fits = mp.isinf(truth.h2) or truth.h2 >= LARGEST or is_stable(truth) != "yes"
        return [] if fits else [f"h2: inf, is {mp.nstr(truth.h2, 12)}"]
    allowed = TOLERANCE * truth.h2 + GAIN_FLOOR
    if math.isnan(answer.h2) or mp.isinf(truth.h2) or abs(answer.h2 - truth.h2) > allowed:
        return [f"h2: {answer.h2:.9g}, is {mp.nstr(truth.h2, 12)}"]
    return []
