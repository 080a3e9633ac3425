"""An adversary: the largest amplification that gradient ascent finds, a lower bound on the gain."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from ssmbench.analysis.quasi_newton import BatchedLBFGS

Map = Callable[[Tensor], Tensor]

_TINY = 1e-300
# Chosen with tools/attack_strength.py.
_POWER_ITERATIONS = 2
#: Number of steps that limited-memory BFGS remembers.
_HISTORY = 20
#: Maximum length of a step, in first moves, and its factor after a step that does not help.
_LONGEST, _SHRINK = 10.0, 0.3
#: Successive halving keeps one in this many starts of each kind to the end.
_SURVIVORS = 8
#: An ascent has converged at this slope of the logarithm of the gain, in first moves.
_FLAT = 1e-4
_FIRST_HALVING = 4


@dataclass(frozen=True)
class Attack:
    """The worst disturbance found: ``||f(base + disturbance) - f(base)|| / ||disturbance||``."""

    gain: float
    base: Float[Tensor, "L m"]
    disturbance: Float[Tensor, "L m"]


@dataclass(frozen=True)
class Attacks:
    """The largest gain found from each of R starts; 0 if a start found nothing."""

    gains: Float[Tensor, " R"]
    base: Float[Tensor, "R L m"]
    disturbance: Float[Tensor, "R L m"]

    @property
    def worst(self) -> Attack:
        """The largest gain of all."""
        index = int(self.gains.argmax())
        return Attack(self.gains[index].item(), self.base[index], self.disturbance[index])

    def to(self, dtype: torch.dtype) -> Attacks:
        """The same figures, with signals of another precision."""
        return Attacks(self.gains, self.base.to(dtype), self.disturbance.to(dtype))

    def measured_by(self, function: Map) -> Attacks:
        """The same signals, with the gains that another map has on them.

        What its rounding may add, estimated from the size of its outputs, is subtracted.
        """
        with torch.no_grad():
            disturbed, undisturbed = function(self.base + self.disturbance), function(self.base)
        gains = amplification(disturbed, undisturbed, self.disturbance)
        return Attacks(gains.where(self.gains > 0, 0.0), self.base, self.disturbance)


def amplification(
    disturbed: Tensor, undisturbed: Tensor, disturbance: Float[Tensor, "R L m"]
) -> Float[Tensor, " R"]:
    """``||disturbed - undisturbed|| / ||disturbance||``, less what rounding of outputs may add.

    Infinite where an output is not finite.
    """
    change = _norms(disturbed - undisturbed)
    rounding = torch.finfo(disturbed.dtype).eps * (_norms(disturbed) + _norms(undisturbed))
    gains = (change - rounding).clamp_min(0) / _norms(disturbance).clamp_min(_TINY)
    return gains.where(change.isfinite(), math.inf)


def attack(
    function: Map,
    base: Float[Tensor, "R L m"],
    amplitude: Float[Tensor, " R"],
    *,
    steps: int,
    seed: int,
) -> Attack:
    """The largest gain that :func:`attacks` finds around bases that do not move."""
    return attacks(function, base, amplitude, steps=steps, seed=seed).worst


def attacks(
    function: Map,
    base: Float[Tensor, "R L m"],
    amplitude: Float[Tensor, " R"],
    *,
    steps: int,
    seed: int,
    base_step: Float[Tensor, " R"] | None = None,
    exact: Map | None = None,
) -> Attacks:
    """The largest incremental l2 gain found from each of R starts in ``steps`` ascents.

    Ascends ``log ||f(base + d) - f(base)||`` over disturbances d of norm ``amplitude``, and over
    the base too where ``base_step``, the norm of a first move of it, is not 0: an incremental gain
    is a supremum over both. Two power iterations for d come first, then limited-memory BFGS for d
    and the base together. Successive halving (Karnin, Koren and Somekh 2013) spends most of the
    ascents on the most promising starts: after 4, 8, 16, ... ascents the worse half of the
    starts that move, and of those that do not, ends; what each had found counts.

    ``function`` must treat its sequences independently; it sees up to 2 R of them. An output that
    is not finite is an infinite gain. ``exact`` is the same map in float64: it takes the place of
    ``function`` in the ascent, where differences may vanish in the rounding of single precision,
    and measures what was found, which is returned in the precision of ``base``.
    """
    generator = torch.Generator().manual_seed(seed)
    noise = torch.randn(base.shape, generator=generator, device="cpu").to(base)
    amplitude = amplitude.to(base.device, torch.float64)
    base_step = torch.zeros_like(amplitude) if base_step is None else base_step.to(amplitude)
    ascended, start = (function, base) if exact is None else (exact, base.double())
    search = _Search(ascended, start, noise, amplitude, base_step)
    for ascent in range(1, steps + 1):
        if not search.ascend(bases_fixed=ascent < _POWER_ITERATIONS):
            break
        search.aim(power_iteration=ascent <= _POWER_ITERATIONS)
        if ascent >= _FIRST_HALVING and ascent.bit_count() == 1:
            search.halve()
    found = search.found()
    if exact is not None:
        found = found.to(base.dtype).to(torch.float64).measured_by(exact)
    return found.to(base.dtype)


class _Search:
    """R ascents side by side, each in coordinates in which a first step has the length 1.

    The coordinates (base_move, direction) of a start mean the base ``base + base_step base_move``
    and the disturbance ``amplitude direction / ||direction||``.
    """

    def __init__(self, function: Map, base: Tensor, noise: Tensor, amplitude: Tensor, step: Tensor):
        self._function, self._base = function, base
        self._amplitude, self._step = amplitude, step
        self._moves = step > 0
        with torch.no_grad():
            self._base_output = function(base)
        self._alive = torch.arange(len(base), device=base.device)
        direction = _LONGEST * _unit(noise.double().flatten(1))
        self._best = torch.cat([torch.zeros_like(direction), direction], 1)
        self._gains = torch.zeros_like(amplitude)
        self._trial, self._slope = self._best, torch.zeros_like(self._best)
        self._length = torch.ones_like(amplitude)
        self._curvature: BatchedLBFGS | None = None

    def ascend(self, *, bases_fixed: bool) -> bool:
        """Evaluate the current trial of every start; returns whether further ascents may help.

        ``bases_fixed`` saves half of the work while no base has moved; the slope with respect to
        the base is then wrong.
        """
        gains, slope = self._evaluate(bases_fixed)
        alive, best = self._alive, self._best[self._alive]
        better = gains > self._gains[alive]
        if self._curvature is not None:
            self._curvature.note(self._trial - best, self._slope - slope)
        self._gains[alive] = gains.where(better, self._gains[alive])
        self._best[alive] = _choose(better, self._trial, best)
        self._slope = _choose(better & slope.isfinite().all(1), slope, self._slope)
        self._length = torch.where(better, 1.0, _SHRINK * self._length)
        return bool(self._gains.isfinite().all()) and bool((_norms(self._slope) > _FLAT).any())

    def aim(self, *, power_iteration: bool) -> None:
        """Choose the next trials, from the best point of each start."""
        best = self._best[self._alive]
        if power_iteration:
            move, direction = best.chunk(2, 1)
            up = self._slope.chunk(2, 1)[1]
            direction = _choose(_norms(up) > 0, _LONGEST * _unit(up), direction)
            self._trial = torch.cat([move, direction], 1)
            return
        if self._curvature is None:
            scale = 1 / _norms(self._slope).clamp_min(_TINY)
            self._curvature = BatchedLBFGS(scale, best.shape[1], _HISTORY)
        step = self._curvature.direction(self._slope)
        rises = (step * self._slope).sum(1) > 0
        step = _choose(rises & step.isfinite().all(1), step, _unit(self._slope))
        too_long = (_norms(step) / _LONGEST).clamp_min(1.0)
        self._trial = best + (self._length / too_long)[:, None] * step

    def halve(self) -> None:
        """End the worse half of the starts whose bases move, and of the others."""
        halves = [self._better_half(kind) for kind in (True, False)]
        kept = torch.cat(halves).sort().values
        self._alive = self._alive[kept]
        self._trial, self._slope = self._trial[kept], self._slope[kept]
        self._length = self._length[kept]
        if self._curvature is not None:
            self._curvature.keep(kept)

    def _better_half(self, moving: bool) -> Int64[Tensor, " K"]:
        """Indices of the better half of the remaining starts of one kind."""
        left = (self._moves[self._alive] == moving).nonzero().flatten()
        least = math.ceil(int((self._moves == moving).sum()) / _SURVIVORS)
        number = min(len(left), max(least, math.ceil(len(left) / 2)))
        return left[self._gains[self._alive[left]].topk(number).indices]

    def _evaluate(self, bases_fixed: bool) -> tuple[Float[Tensor, " K"], Float[Tensor, "K n"]]:
        """Gains at the trials, and the gradients of their logarithms."""
        trial = self._trial.detach().requires_grad_()
        base, d = self._signals(trial, self._alive)
        moves = self._moves[self._alive] & (not bases_fixed)
        outputs = self._function(torch.cat([base + d, base[moves]]))
        disturbed, fresh = outputs.split([len(d), len(outputs) - len(d)])
        index = moves.nonzero().flatten()
        undisturbed = self._base_output[self._alive].index_copy(0, index, fresh)
        gains = amplification(disturbed.detach(), undisturbed.detach(), d.detach())
        heights = _norms(disturbed - undisturbed).clamp_min(_TINY).log()
        if not heights.requires_grad:
            return gains, torch.zeros_like(trial)
        return gains, torch.autograd.grad(heights.sum(), trial)[0].nan_to_num(posinf=0, neginf=0)

    def _signals(self, coordinates: Tensor, starts: Tensor) -> tuple[Tensor, Tensor]:
        """Bases and disturbances."""
        move, direction = coordinates.chunk(2, 1)
        base, shape = self._base[starts], self._base.shape[1:]
        move = (self._step[starts, None] * move).unflatten(1, shape)
        d = (self._amplitude[starts, None] * _unit(direction)).unflatten(1, shape)
        return base + move.to(base.dtype), d.to(base.dtype)

    def found(self) -> Attacks:
        """The best point of every start."""
        everything = torch.arange(len(self._base), device=self._base.device)
        return Attacks(self._gains, *self._signals(self._best, everything))


def _norms(signals: Tensor) -> Float[Tensor, " R"]:
    return torch.linalg.vector_norm(signals.flatten(1).double(), dim=1)


def _unit(rows: Float[Tensor, "R n"]) -> Float[Tensor, "R n"]:
    return rows / _norms(rows).clamp_min(_TINY)[:, None]


def _choose(which: Bool[Tensor, " R"], yes: Tensor, no: Tensor) -> Tensor:
    return torch.where(which[:, None], yes, no)
