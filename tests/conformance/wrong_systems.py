"""Wrong discretizers, normalisers and scans."""

from __future__ import annotations

import dataclasses

import torch

from ssmbench.discretizers.exact import ZeroOrderHold
from ssmbench.discretizers.oscillator import SymplecticEuler
from ssmbench.discretizers.tustin import Tustin
from ssmbench.scans.chunked import ChunkedScan
from ssmbench.systems import TimeVaryingDiagonal
from tests.conformance.wrong import Wrong, claiming, example, no_module

WithMargin = example("normaliser").factory
WithMarginConfig = example("normaliser").config

# --- discretizers -------------------------------------------------------------------------------


class Nothing(Tustin):
    """Returns the continuous system."""

    def __call__(self, system):
        return system


class EulersIncrement(Tustin):
    def increment(self, z):
        return z


class DividesByThePole(ZeroOrderHold):
    def diagonal(self, system):
        z = system.dt[:, None] * system.lam
        held = super().diagonal(system)
        B = (torch.expm1(z) / system.lam)[..., None] * system.B
        return dataclasses.replace(held, B=B)


class OtherWhereDense(Tustin):
    def dense(self, system):
        made = super().dense(system)
        return dataclasses.replace(made, B=1.001 * made.B)


class AnotherRule(Tustin):
    """Scans would sample by zero-order hold."""

    def elementwise(self):
        return ZeroOrderHold.elementwise(self)


class RootOfTheStiffness(SymplecticEuler):
    """The square of a root, which has no derivative at 0."""

    @staticmethod
    def step(s, c):
        return SymplecticEuler.step(s.sqrt().square(), c)


class SeesTheFreeMass(SymplecticEuler):
    def oscillator(self, system):
        made = super().oscillator(system)
        free = bool((system.a == 0).any())
        return dataclasses.replace(made, D=1.01 * made.D) if free else made


def discretizer(check, factory, says, **more):
    return Wrong("discretizer", check, factory, says, **more)


DISCRETIZERS = (
    discretizer("builds", no_module, "a discretizer must derive from"),
    discretizer(
        "keeps_sizes",
        Nothing,
        "discretizes a ContinuousDiagonal into a ContinuousDiagonal",
        also=("integrators_stay_integrators",),
    ),
    discretizer("order_as_declared", claiming(Tustin, order=3), "declares order 3, measured 2"),
    discretizer(
        "a_stability_as_declared",
        claiming(ZeroOrderHold, a_stable=False),
        "declares a_stable=False, measured True",
    ),
    discretizer(
        "l_stability_as_declared",
        claiming(Tustin, l_stable=True),
        "declares l_stable=True, measured False",
    ),
    discretizer(
        "stability_intervals_as_declared",
        claiming(Tustin, real_interval=2.0),
        "declares the real interval 2.0",
    ),
    discretizer(
        "stability_intervals_as_declared",
        claiming(Tustin, imaginary_interval=2.0),
        "declares the imaginary interval 2.0",
    ),
    discretizer(
        "gain_preservation_as_declared",
        claiming(Tustin, preserves_gain=False),
        "declares preserves_gain=False, measured True",
    ),
    discretizer(
        "gain_preservation_as_declared",
        claiming(ZeroOrderHold, preserves_gain=True),
        "declares preserves_gain=True, measured False",
    ),
    discretizer(
        "increment_is_the_stability_function_minus_one", EulersIncrement, "increment is not R - 1"
    ),
    discretizer("integrators_stay_integrators", DividesByThePole, "not finite"),
    discretizer("dense_and_diagonal_agree", OtherWhereDense, "the dense form differ"),
    discretizer(
        "free_mass_has_a_double_pole_at_one",
        RootOfTheStiffness,
        "the gradient at a = g = 0 is not finite",
    ),
    discretizer(
        "free_mass_does_not_change_other_oscillators",
        SeesTheFreeMass,
        "changes the frequency response of the others",
    ),
    discretizer(
        "elementwise_rule_is_the_method", AnotherRule, "gives another lam than diagonal does"
    ),
)


# --- normalisers --------------------------------------------------------------------------------


class ChangesThePrecision(WithMargin):
    def __call__(self, system):
        return super().__call__(system).double()


class HalfOfTheBound(WithMargin):
    def bound(self, system):
        return super().bound(system) / 2


class FarAboveTheNorm(WithMargin):
    def bound(self, system):
        return 3 * super().bound(system)


class ConstantScale(WithMargin):
    def bound(self, system):
        return super().bound(system).detach()


def normaliser(check, factory, says):
    return Wrong("normaliser", check, factory, says, config=WithMarginConfig)


NORMALISERS = (
    normaliser("builds", no_module, "a normaliser must derive from"),
    normaliser("keeps_type_sizes_and_precision", ChangesThePrecision, "a normaliser keeps both"),
    normaliser("gain_as_declared", HalfOfTheBound, r"declares a gain of 0\.1, but"),
    normaliser("gain_is_used", FarAboveTheNorm, "less than half of gamma"),
    normaliser("gradient_includes_the_scale_factor", ConstantScale, "instead of 0"),
)


# --- scans --------------------------------------------------------------------------------------


class WithoutTheState(ChunkedScan):
    def __call__(self, system, u, x0=None):
        return super().__call__(system, u, x0)[0]


class WrongOutput(ChunkedScan):
    def __call__(self, system, u, x0=None):
        y, final = super().__call__(system, u, x0)
        return y * 1.001, final


class WrongBackward(ChunkedScan):
    def __call__(self, system, u, x0=None):
        y, final = super().__call__(system, u, x0)
        return y + 0.01 * (u.sum() - u.detach().sum()), final


class AnswersInHalf(ChunkedScan):
    def __call__(self, system, u, x0=None):
        y, final = super().__call__(system, u, x0)
        return y.to(torch.promote_types(y.dtype, u.dtype) if y.is_complex() else u.dtype), final


class Once(torch.autograd.Function):
    """The identity, whose derivative is treated as a constant."""

    @staticmethod
    def forward(ctx, x):
        return x.view_as(x)

    @staticmethod
    def backward(ctx, gradient):
        return gradient.detach()


class DifferentiableOnce(ChunkedScan):
    def __call__(self, system, u, x0=None):
        return super().__call__(system, Once.apply(u), x0)


class AccumulatesInHalf(ChunkedScan):
    def linear_scan(self, a, b, x0=None, *, reverse=False):
        s = super().linear_scan(a, b, x0, reverse=reverse)
        return s.to(b.dtype).to(s.dtype)


class ForgetsReverse(ChunkedScan):
    def linear_scan(self, a, b, x0=None, *, reverse=False):
        return super().linear_scan(a, b, x0)


class ForgetsConjugate(ChunkedScan):
    def linear_scan(self, a, b, x0=None, *, reverse=False):
        s = super().linear_scan(a, b, x0, reverse=reverse)
        return torch.complex(s.real, s.imag.detach()) if s.is_complex() else s


class WrongWhereItVaries(ChunkedScan):
    def __call__(self, system, u, x0=None):
        y, final = super().__call__(system, u, x0)
        return (y * 1.001 if isinstance(system, TimeVaryingDiagonal) else y), final


class OnceWhereItVaries(ChunkedScan):
    def __call__(self, system, u, x0=None):
        varies = isinstance(system, TimeVaryingDiagonal)
        return super().__call__(system, Once.apply(u) if varies else u, x0)


def scan(check, factory, says):
    return Wrong("scan", check, factory, says)


SCANS = (
    scan("builds", no_module, "a scan must derive from"),
    scan("returns_outputs_and_final_state", WithoutTheState, "must return two tensors"),
    scan("outputs_and_gradients_agree", WrongOutput, "^y of "),
    scan("outputs_and_gradients_agree", WrongBackward, "gradient of u"),
    scan("bfloat16_inputs_agree", AnswersInHalf, r"torch\.bfloat16 instead of"),
    scan("second_derivatives_agree", DifferentiableOnce, "second gradient of"),
    scan("linear_scan_agrees", ForgetsReverse, "^s of linear scan, .* reverse=True"),
    scan("linear_scan_agrees", ForgetsConjugate, "of linear scan, torch.complex64"),
    scan("linear_scan_agrees", AccumulatesInHalf, r"^s of linear scan, torch\.bfloat16"),
    scan("time_varying_systems_agree", WrongWhereItVaries, "^y of TimeVaryingDiagonal"),
    scan(
        "second_derivatives_of_time_varying_systems_agree",
        OnceWhereItVaries,
        "second gradient of .* of TimeVaryingDiagonal",
    ),
)

WRONG = (*DISCRETIZERS, *NORMALISERS, *SCANS)
