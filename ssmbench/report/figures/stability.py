"""Figure of the stability regions of discretizers, with the poles of a system."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
import torch
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from ssmbench.discretizers.base import Discretizer

_Points = NDArray[np.complexfloating]

_COLUMNS = 4
_PIXELS = 301
_DEFAULT_REACH = 6.0  # left extent of a panel if the stability interval is infinite
_MAX_ZOOM = 4.0  # poles beyond this many default extents are counted, not shown
_ROUNDING = 1e-12


def stability_regions(methods: Mapping[str, Discretizer], points: _Points | None) -> Figure:
    """One panel per method: ``|R(z)| <= 1`` shaded, and the points z = h lambda (P,) on top."""
    columns = min(_COLUMNS, len(methods))
    lines = math.ceil(len(methods) / columns)
    figure = Figure(figsize=(3.6 * columns, 4.2 * lines), layout="constrained")
    axes = figure.subplots(lines, columns, squeeze=False)
    for axis in axes.flat[len(methods) :]:
        axis.set_axis_off()
    for axis, (name, method) in zip(axes.flat, methods.items(), strict=False):
        _draw(axis, name, method, points)
    return figure


def count_stable(methods: Mapping[str, Discretizer], points: _Points | None) -> dict[str, int]:
    """How many of the points each method makes stable, ``|R| < 1``; 0 without points."""
    if points is None:
        return dict.fromkeys(methods, 0)
    return {name: int((_modulus(m, points) < 1).sum()) for name, m in methods.items()}


def _draw(axis: Axes, name: str, method: Discretizer, points: _Points | None) -> None:
    reach = _reach(method, points)
    x, y = np.linspace(-reach, 0.45 * reach, _PIXELS), np.linspace(-0.725, 0.725, _PIXELS) * reach
    size = _modulus(method, x[None, :] + 1j * y[:, None])
    axis.contourf(x, y, size, levels=[0, 1 + _ROUNDING], colors=["C0"], alpha=0.25)
    axis.contour(x, y, size, levels=[1], colors=["C0"], linewidths=1)
    axis.axhline(0, color="black", lw=0.5)
    axis.axvline(0, color="black", lw=0.5)
    axis.set(xlim=(x[0], x[-1]), ylim=(y[0], y[-1]), aspect="equal")
    axis.set_title(name)
    axis.set_xlabel(r"Re $h\lambda$")
    axis.set_ylabel(r"Im $h\lambda$")
    if points is not None:
        _draw_points(axis, name, method, points)


def _draw_points(axis: Axes, name: str, method: Discretizer, points: _Points) -> None:
    """Draw stable points in black and unstable points in red; the title counts them."""
    stable = _modulus(method, points) < 1
    for mask, colour in ((stable, "black"), (~stable, "red")):
        axis.scatter(points[mask].real, points[mask].imag, s=9, lw=0, color=colour, zorder=3)
    (left, right), (_, top) = axis.get_xlim(), axis.get_ylim()
    shown = (left <= points.real) & (points.real <= right) & (np.abs(points.imag) <= top)
    hidden = "" if shown.all() else f", {int((~shown).sum())} outside the panel"
    axis.set_title(f"{name}\n{int(stable.sum())} of {len(points)} stable{hidden}", fontsize=9)


def _reach(method: Discretizer, points: _Points | None) -> float:
    """The left extent of the panel: beyond the region, and beyond the points if they are near."""
    real = method.facts.real_interval
    own = _DEFAULT_REACH
    if math.isfinite(real) and real > 0:
        own = max(1.25 * real, 1.1 / 0.725 * _height(method, real))
    if points is None or len(points) == 0:
        return own
    wanted = max(1.1 * np.abs(points.real).max(), 1.1 / 0.725 * np.abs(points.imag).max())
    return float(max(own, min(wanted, _MAX_ZOOM * own)))


def _height(method: Discretizer, real: float) -> float:
    """The largest imaginary part in the stability region, up to twice the region's length."""
    x, y = np.linspace(-1.25 * real, 0.45 * real, 101), np.linspace(0, 2 * real, 201)
    inside = _modulus(method, x[None, :] + 1j * y[:, None]) <= 1 + _ROUNDING
    return float(y[inside.any(1)].max())


def _modulus(method: Discretizer, z: np.ndarray) -> np.ndarray:
    flat = torch.from_numpy(z.astype(np.complex128).ravel())
    size = method.stability_function(flat).abs().reshape(z.shape).numpy()
    return np.nan_to_num(size, nan=np.inf, posinf=1e300)
