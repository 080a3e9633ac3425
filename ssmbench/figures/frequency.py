"""Gain against frequency, with declared bounds."""

from __future__ import annotations

import math
from collections.abc import Mapping

from matplotlib.figure import Figure

from ssmbench.analysis.frequency import GainOverFrequency, gain_over_frequency
from ssmbench.figures.bounds import declared_bounds
from ssmbench.figures.chart import Chart, Panel, Series, number
from ssmbench.figures.drawing import draw
from ssmbench.figures.style import colours_for, styles_for
from ssmbench.systems import DiscreteSystem

#: A panel's range of gains below its peak: what is weaker is of no interest, and an exact zero of
#: the transfer matrix would stretch the axis without end.
_DEPTH = 1e-4


def frequency_figure(
    systems: Mapping[str, DiscreteSystem],
    declared: Mapping[str, float | None],
    title: str = "",
) -> Figure:
    """Largest singular value of the transfer matrix against frequency, all systems in one panel;
    see :func:`frequency_chart`."""
    return draw(frequency_chart({"": systems}, {"": declared}, title))


def frequency_chart(
    panels: Mapping[str, Mapping[str, DiscreteSystem]],
    declared: Mapping[str, Mapping[str, float | None]],
    title: str = "",
) -> Chart:
    """One panel per group of systems, one line per system, and a dashed line at each gain declared.

    Of a bank of heads on separate channels the line is the largest gain of all heads, which is
    that of the layer. A system that is not stable has no line, and the panel says so. Frequencies
    are in radians per sample.
    """
    names = [name for systems in panels.values() for name in systems]
    colours, styles = colours_for(names), styles_for(names)
    drawn = []
    for group, systems in panels.items():
        curves = {name: gain_over_frequency(system) for name, system in systems.items()}
        drawn.append(_panel(group, curves, declared.get(group, {}), colours, styles))
    return Chart(title, tuple(drawn))


def _panel(
    title: str,
    curves: Mapping[str, GainOverFrequency],
    declared: Mapping[str, float | None],
    colours: Mapping[str, str],
    styles: Mapping[str, str],
) -> Panel:
    stable = {name: curve for name, curve in curves.items() if len(curve.omega)}
    two_sided = any(curve.omega[0] < 0 for curve in stable.values())
    series = [
        Series(name, curve.omega, curve.gain, colours[name], style=styles[name])
        for name, curve in stable.items()
    ]
    low = min((curve.corner for curve in stable.values()), default=1e-2)
    limits = (-math.pi, math.pi) if two_sided else (low, math.pi)
    alerts = tuple(
        f"{name}: unstable, so its gain is infinite".removeprefix(": ")
        for name in curves
        if name not in stable
    )
    return Panel(
        title=title,
        xlabel="frequency [rad/sample]",
        ylabel="gain (largest singular value)",
        series=tuple(series),
        bounds=declared_bounds(declared, colours),
        notes=_peaks(stable),
        alerts=alerts,
        xlog=not two_sided,
        ylog=any((curve.gain > 0).any() for curve in stable.values()),
        xlim=limits,
        ylim=_range(stable),
    )


def _peaks(curves: Mapping[str, GainOverFrequency]) -> tuple[str, ...]:
    """The peak of each system: more than three do not fit above a panel."""
    if len(curves) > 3:
        worst = max(curves, key=lambda name: curves[name].peak)
        return (f"largest peak {number(curves[worst].peak)}, {worst}",)
    texts = []
    for name, curve in curves.items():
        about = f"{name}: " if name else ""
        at = curve.peak_omega if abs(curve.peak_omega) >= curve.corner else 0.0
        texts.append(f"{about}peak {number(curve.peak)} at {at:.3g} rad/sample")
    return tuple(texts)


def _range(curves: Mapping[str, GainOverFrequency]) -> tuple[float, float] | None:
    peaks = [curve.peak for curve in curves.values() if curve.peak > 0]
    if not peaks:
        return None
    positive = [curve.gain[curve.gain > 0] for curve in curves.values()]
    low = min(float(gain.min()) for gain in positive if len(gain))
    return max(low / 1.3, min(peaks) * _DEPTH), max(peaks) * 1.3
