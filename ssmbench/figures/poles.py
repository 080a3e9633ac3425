"""The poles of layers in the unit disc."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ssmbench.figures.chart import Chart, Panel, Series
from ssmbench.figures.drawing import draw
from ssmbench.figures.style import EARLIER, PALETTE, UNSTABLE

_REACH = (1.15, 3.0)  # least and largest extent of a panel; poles beyond it are counted
_Poles = NDArray[np.complexfloating]
_INSIDE, _OUTSIDE = "stable pole", "pole on or outside the circle"


def poles_figure(
    layers: Mapping[str, np.ndarray],
    title: str = "",
    earlier: Sequence[Mapping[str, np.ndarray]] = (),
) -> Figure:
    """:func:`poles_chart` as a figure."""
    return draw(poles_chart(layers, title, earlier))


def poles_chart(
    layers: Mapping[str, np.ndarray],
    title: str = "",
    earlier: Sequence[Mapping[str, np.ndarray]] = (),
    columns: int | None = None,
) -> Chart:
    """One panel per layer: its poles, complex, and the unit circle.

    Unstable poles are red crosses, and counted in words. ``earlier``: the poles at earlier moments,
    oldest first, drawn the fainter the older; those at the first moment may be of other numbers.
    """
    panels = tuple(
        _panel(name, np.ravel(poles), [np.ravel(m[name]) for m in earlier if name in m])
        for name, poles in layers.items()
    )
    return Chart(title, panels, columns)


def _panel(name: str, poles: _Poles, earlier: list[_Poles]) -> Panel:
    finite = np.isfinite(poles)
    modulus = np.abs(poles)
    outside = ~(modulus < 1)
    reach = float(np.clip(1.08 * modulus[finite].max(initial=0), *_REACH))
    beyond = finite & (np.maximum(np.abs(poles.real), np.abs(poles.imag)) > reach)
    series = [*_trail(earlier), *_now(poles, outside, finite & ~beyond)]
    alerts, notes = _words(modulus, outside, beyond, finite)
    return Panel(
        title=name,
        xlabel="real part",
        ylabel="imaginary part",
        series=tuple(series),
        notes=notes,
        alerts=alerts,
        xlim=(-reach, reach),
        ylim=(-reach, reach),
        unit_circle=True,
    )


def _trail(earlier: list[_Poles]) -> list[Series]:
    """Earlier poles, from faint to clear; the legend has one entry for all of them."""
    strengths = np.linspace(0.25, 0.7, max(1, len(earlier)))
    labels = [*[""] * (len(earlier) - 1), "earlier in training"][: len(earlier)]
    return [
        Series(label, p.real, p.imag, EARLIER, joined=False, strength=float(strength))
        for label, p, strength in zip(labels, earlier, strengths, strict=False)
    ]


def _now(poles: _Poles, outside: np.ndarray, shown: np.ndarray) -> list[Series]:
    inner, outer = poles[shown & ~outside], poles[shown & outside]
    found = []
    if len(inner):
        strength = 0.75 if len(inner) < 300 else 0.45
        plain = Series(_INSIDE, inner.real, inner.imag, PALETTE[0], joined=False, strength=strength)
        found.append(plain)
    if len(outer):
        found.append(
            Series(_OUTSIDE, outer.real, outer.imag, UNSTABLE, joined=False, unstable=True)
        )
    return found


def _words(
    modulus: np.ndarray, outside: np.ndarray, beyond: np.ndarray, finite: np.ndarray
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What is said in red, and what is said in black."""
    count, bad = len(modulus), int(outside.sum())
    if not count:
        return (), ("no poles: a static gain",)
    if not finite.any():
        return ("no pole is a finite number",), ()
    largest = f"largest modulus {modulus[finite].max():.6g}"
    if not bad:
        return (), (f"all {count} poles are inside; {largest}",)
    parts = [f"{bad} of {count} poles on or outside the circle; {largest}"]
    if beyond.any():
        parts.append(f"{int(beyond.sum())} beyond this panel")
    if not finite.all():
        parts.append(f"{int((~finite).sum())} not finite")
    return ("; ".join(parts),), ()
