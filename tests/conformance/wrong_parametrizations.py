"""Wrong parametrizations: time-invariant and time-varying ones."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from ssmbench.parametrizations.base import ParameterOptions, Parametrization
from ssmbench.parametrizations.passive import Passive, PassiveConfig
from ssmbench.systems import (
    ContinuousTimeVaryingDiagonal,
    DiscreteDiagonal,
    TimeVaryingDiagonal,
)
from tests.conformance.wrong import Wrong


class Decays(Parametrization):
    """Two real poles for each channel, with a gain of at most 1: nothing is wrong with it."""

    system_type = DiscreteDiagonal
    stable_by_construction = True

    def __init__(self, config, *, d_model):
        super().__init__()
        self.place = nn.Parameter(torch.zeros(d_model, 2))
        self.weight = nn.Parameter(torch.full((d_model, 2), 0.2))

    def declared_gain(self):
        return 1.0

    def poles(self):
        return 0.9 * torch.sigmoid(self.place)

    def weights(self):
        return self.weight / (1 + self.weight.abs().sum(-1, keepdim=True))

    def direct(self):
        return torch.zeros(len(self.place), 1, 1)

    def forward(self):
        lam = self.poles()
        C = self.weights()[:, None].to(lam.dtype)
        B, D = (1 - lam)[..., None], self.direct()
        system = DiscreteDiagonal(lam=lam, B=B, C=C, D=D.to(lam.dtype))
        return system if self.place.dtype == torch.float64 else system.single()


class Plain(Decays):
    """The same without a declared gain, whose checks take longest."""

    def declared_gain(self):
        return None


class InDoublePrecision(Decays):
    def __init__(self, config, *, d_model):
        super().__init__(config, d_model=d_model)
        self.place = nn.Parameter(self.place.detach().double())


@dataclass
class ThreeStates:
    d_state: int = 3


class OneChannelMore(Plain):
    def __init__(self, config, *, d_model):
        super().__init__(config, d_model=d_model + 1)


class WithoutUse(Plain):
    def __init__(self, config, *, d_model):
        super().__init__(config, d_model=d_model)
        self.spare = nn.Parameter(torch.zeros(()))


class NamesNothing(Plain):
    def optimizer_options(self):
        return {"pole": ParameterOptions()}


class Remembers(Plain):
    calls = 0

    def direct(self):
        self.calls += 1
        return torch.full((len(self.place), 1, 1), 1e-4 * self.calls)


class Unstable(Plain):
    def poles(self):
        return 1.5 * torch.sigmoid(self.place)


class GrowsWithItsWeights(Decays):
    def weights(self):
        return self.weight


class RoundsItsPoles(Decays):
    """B is that of the poles before they are rounded to float32; it can be seen near the circle."""

    def __init__(self, config, *, d_model):
        super().__init__(config, d_model=d_model)
        self.place = nn.Parameter(torch.full((d_model, 2), 31.0))

    def poles(self):
        return 1 - 0.5 * torch.exp(-(self.place.double() - 30).clamp_min(0))

    def weights(self):
        weight = self.weight.double()
        return weight.abs() / weight.abs().sum(-1, keepdim=True)


class Gated(Parametrization):
    """One pole for each channel, which the input moves: nothing is wrong with it.

    With lam <= 0.9, ``x^2`` is a storage function: ``x_next^2 <= lam x^2 + (1 - lam) u^2`` and
    ``y^2 <= 0.09 x^2``, so that the zero-state gain is at most 1.
    """

    system_type = TimeVaryingDiagonal
    stable_by_construction = True

    def __init__(self, config, *, d_model):
        super().__init__()
        self.d_model = d_model
        self.slope = nn.Parameter(torch.full((d_model,), 0.5))
        self.weight = nn.Parameter(torch.full((d_model,), 0.2))

    def declared_gain(self):
        return 1.0

    def poles(self, u):
        return 0.9 * torch.sigmoid(self.slope * u)

    def weights(self):
        return 0.3 * torch.tanh(self.weight)

    def forward(self, u):
        lam = self.poles(u)[..., None]  # (B, L, H, 1)
        C = self.weights()[:, None, None].expand(*lam.shape[:3], 1, 1)
        D = torch.zeros(*lam.shape[:3], 1, 1, dtype=lam.dtype)
        return TimeVaryingDiagonal(lam=lam, B=(1 - lam)[..., None], C=C, D=D)


class WithoutWidth(Gated):
    def __init__(self, config, *, d_model):
        super().__init__(config, d_model=d_model)
        del self.d_model


class SaysContinuous(Gated):
    system_type = ContinuousTimeVaryingDiagonal


class PadsChannels(Gated):
    def __init__(self, config, *, d_model):
        super().__init__(config, d_model=d_model + 1)
        self.d_model = d_model

    def forward(self, u):
        return super().forward(nn.functional.pad(u, (0, 1)))


class IgnoresItsInput(Gated):
    def poles(self, u):
        return super().poles(torch.ones_like(u))


class GatedWithoutUse(Gated):
    def __init__(self, config, *, d_model):
        super().__init__(config, d_model=d_model)
        self.spare = nn.Parameter(torch.zeros(()))


class ReadsEarlierSteps(Gated):
    def poles(self, u):
        return super().poles(u.cumsum(1))


class LeavesTheCircle(Gated):
    def declared_gain(self):
        return None

    def poles(self, u):
        return 2 * torch.sigmoid(self.slope * u)


class GatedGrows(Gated):
    def weights(self):
        return self.weight


class HoldsItsPeak(Gated):
    """Frozen at any step its gain is below 1; but it may read for long what it wrote at once."""

    def weights(self):
        return torch.tanh(10 * self.weight.abs() + 1)

    def poles(self, u):
        return 0.9 * torch.sigmoid(10 * self.slope * u)


class TakesNoWidth(Gated):
    takes_selection = True

    def __init__(self, config, *, d_model, d_selection=None):
        super().__init__(config, d_model=d_model)


def lti(check, factory, says, **more):
    return Wrong("parametrization", check, factory, says, **more)


class DeclaresMoreThanItKeeps(Passive):
    """An index that is off by sqrt(2)."""

    def declared_measures(self):
        return {"passivity": math.sqrt(2) * self.index}


TIME_INVARIANT = (
    lti("builds", InDoublePrecision, "the parameter place is float64"),
    lti("returns_the_declared_system", Plain, "declares d_state=3", config=ThreeStates),
    lti("head_sizes_match_d_model", OneChannelMore, "together they must be d_model=1"),
    lti("every_parameter_has_a_finite_gradient", WithoutUse, "nothing depends on .* spare"),
    lti("optimizer_options_name_parameters", NamesNothing, r"names \['pole'\], which are not"),
    lti("repeated_calls_agree", Remembers, "two calls return different systems"),
    lti("stable_as_declared", Unstable, "declares stability by construction, but is unstable"),
    lti("gain_as_declared", GrowsWithItsWeights, "declares a gain of 1, but its H-infinity norm"),
    Wrong(
        "parametrization",
        "measures_as_declared",
        DeclaresMoreThanItKeeps,
        r"declares passivity 0\.0707107, but",
        config=PassiveConfig,
    ),
    lti("gain_near_the_unit_circle", RoundsItsPoles, "norm of its float32 matrices is"),
)

TIME_VARYING = (
    lti("builds", WithoutWidth, "must set d_model to 1; got None"),
    lti("returns_the_declared_system", SaysContinuous, "returns a TimeVaryingDiagonal, but"),
    lti(
        "head_sizes_match_d_model",
        PadsChannels,
        "together they must be d_model=1",
        also=("every_scan_agrees_with_single_steps", "no_input_exceeds_the_declared_gain"),
    ),
    lti("system_depends_on_the_input", IgnoresItsInput, "does not depend on the input"),
    lti("every_parameter_has_a_finite_gradient", GatedWithoutUse, "nothing depends on .* spare"),
    lti("steps_are_independent", ReadsEarlierSteps, "at a step depends on other steps"),
    lti("stable_as_declared", LeavesTheCircle, "unstable frozen in time"),
    lti(
        "gain_as_declared",
        GatedGrows,
        "declares a gain of 1, but .* frozen in time is",
        also=("no_input_exceeds_the_declared_gain",),
    ),
    lti("no_input_exceeds_the_declared_gain", HoldsItsPeak, "zero-state gain of 1, but an input"),
    lti(
        "takes_a_selection_as_declared",
        TakesNoWidth,
        "must set d_selection to 3",
        also=("no_input_exceeds_the_declared_gain",),
    ),
)

WRONG = (*TIME_INVARIANT, *TIME_VARYING)
