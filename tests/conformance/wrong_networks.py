"""Wrong blocks, nonlinearities, norms, encoders and decoders."""

from __future__ import annotations

import torch
from torch import nn

from ssmbench.analysis.certificate import Bound
from ssmbench.nn.nonlinearities.base import Nonlinearity
from ssmbench.nn.norms.base import Norm
from tests.conformance.wrong import Wrong, example

Parallel, Clipped, TwoLayers = (example(kind).factory for kind in ("block", "encoder", "decoder"))
ParallelConfig = example("block").config


def with_spare_parameter(base: type) -> type:
    """The class with a parameter on which nothing depends."""

    def __init__(self, config, **context):
        base.__init__(self, config, **context)
        self.spare = nn.Parameter(torch.zeros(()))

    return type(f"{base.__name__}WithoutUse", (base,), {"__init__": __init__})


def with_infinite_parameter(base: type) -> type:
    """The class with a parameter that is not finite."""

    def __init__(self, config, **context):
        base.__init__(self, config, **context)
        self.scale = nn.Parameter(torch.tensor(torch.inf))

    return type(f"{base.__name__}Infinite", (base,), {"__init__": __init__})


def in_double_precision(base: type, method: str = "forward") -> type:
    """The class with results in double precision, whatever it is given."""

    def call(self, *args, **options):
        return getattr(base, method)(self, *args, **options).double()

    return type(f"{base.__name__}InDoublePrecision", (base,), {method: call})


# --- nonlinearities -----------------------------------------------------------------------------


class Tanh(Nonlinearity):
    """Nothing is wrong with it."""

    lipschitz = 1.0

    def forward(self, x):
        return torch.tanh(x)


class Offset(Tanh):
    maps_zero_to_zero = True

    def forward(self, x):
        return torch.tanh(x + 0.1)


class MinusItsMean(Tanh):
    def forward(self, x):
        return x - x.mean(1, keepdim=True)


class TooSteep(Tanh):
    def forward(self, x):
        return 1.01 * x


class FlatterThanItIs(Tanh):
    slopes = (0.0, 0.9)


def nonlinearity(check, factory, says):
    return Wrong("nonlinearity", check, factory, says)


NONLINEARITIES = (
    nonlinearity("builds", with_infinite_parameter(Tanh), "not finite right after construction"),
    nonlinearity("keeps_shape_and_precision", in_double_precision(Tanh), "an input in torch"),
    nonlinearity("every_gradient_is_finite", with_spare_parameter(Tanh), "nothing depends on"),
    nonlinearity("steps_are_independent", MinusItsMean, "a step depends on other steps"),
    nonlinearity(
        "lipschitz_constant_as_declared", TooSteep, r"declares 1\.0, but has a slope of 1\.0"
    ),
    nonlinearity("maps_zero_to_zero_as_declared", Offset, "does not map zero to zero"),
    nonlinearity("differences_as_its_slopes_say", FlatterThanItIs, "leaves the slopes"),
)


# --- norms --------------------------------------------------------------------------------------


def masked_mean(x, lengths, axes):
    """The mean over the valid steps, (1, 1, d) or (B, 1, d)."""
    if lengths is None:
        return x.mean(axes, keepdim=True)
    valid = (torch.arange(x.shape[1]) < lengths[:, None])[..., None].to(x.dtype)
    kept = torch.where(valid > 0, x, 0.0)
    return kept.sum(axes, keepdim=True) / valid.sum(axes, keepdim=True)


class Identity(Norm):
    """Nothing is wrong with it."""

    lipschitz = 1.0

    def forward(self, x, lengths=None):
        return x * 1


class RunningMean(Identity):
    """Its buffer is the mean of no sequences, NaN, after an empty batch."""

    def __init__(self, config, *, d_model):
        super().__init__(config, d_model=d_model)
        self.register_buffer("mean", torch.zeros(1, 1, d_model))

    def forward(self, x, lengths=None):
        if self.training:
            self.mean = masked_mean(x.detach(), lengths, (0, 1))
        return super().forward(x)


class CentredInTime(Identity):
    def forward(self, x, lengths=None):
        return x - masked_mean(x, lengths, (1,))


class CentredWithPadding(Identity):
    def forward(self, x, lengths=None):
        return x * 1 if lengths is None else x - x.mean(1, keepdim=True)


class Doubled(Identity):
    def forward(self, x, lengths=None):
        return 2 * x


class Shifted(Identity):
    maps_zero_to_zero = True

    def forward(self, x, lengths=None):
        return x + 0.1


def norm(check, factory, says, *also):
    return Wrong("norm", check, factory, says, also=also)


NORMS = (
    norm("builds", with_infinite_parameter(Identity), "not finite right after construction"),
    norm("keeps_shape_and_precision", in_double_precision(Identity), "an input in torch.float32"),
    norm("every_gradient_is_finite", with_spare_parameter(Identity), "nothing depends on"),
    norm("takes_an_empty_batch", RunningMean, "a buffer is not finite"),
    norm(
        "steps_are_independent",
        CentredInTime,
        "declare reads_batch",
        "lipschitz_constant_as_declared",  # of each step by itself
    ),
    norm("padding_has_no_influence", CentredWithPadding, "padding changes valid outputs"),
    norm("lipschitz_constant_as_declared", Doubled, r"declares 1\.0, but has a slope of 2"),
    norm("maps_zero_to_zero_as_declared", Shifted, "does not map zero to zero"),
)


# --- encoders -----------------------------------------------------------------------------------


class RestartsAtEveryChunk(Clipped):
    unbounded_reason = "it counts steps"

    def forward(self, u, start=0):
        return super().forward(u) + torch.arange(u.shape[1])[:, None]

    def bound(self):
        return Bound.none(self.unbounded_reason)


class HalfOfItsSlope(Clipped):
    def bound(self):
        return Bound(super().bound().value / 20)


class KeepsAnOffset(Clipped):
    maps_zero_to_zero = True

    def forward(self, u, start=0):
        return super().forward(u, start) + 1e-3


def encoder(check, factory, says):
    return Wrong("encoder", check, factory, says)


ENCODERS = (
    encoder("builds", with_infinite_parameter(Clipped), "not finite right after construction"),
    encoder("shape_and_precision", in_double_precision(Clipped), "the features are torch.float64"),
    encoder("every_gradient_is_finite", with_spare_parameter(Clipped), "nothing depends on"),
    encoder("chunks_agree", RestartsAtEveryChunk, "chunks differ from those of the whole"),
    encoder("lipschitz_constant_as_declared", HalfOfItsSlope, "but has a slope of"),
    encoder("maps_zero_to_zero_as_declared", KeepsAnOffset, "does not map zero to zero"),
)


# --- decoders -----------------------------------------------------------------------------------


class GradientInThePadding(TwoLayers):
    def forward(self, x, lengths=None, gain=None):
        return super().forward(x, lengths, gain) + (x - x.detach()).mean()


class KnowsThatThereIsPadding(TwoLayers):
    def forward(self, x, lengths=None, gain=None):
        return super().forward(x, lengths, gain) * (1 if lengths is None else 1.001)


class ForgetsTheFirstChunk(TwoLayers):
    def stream(self, x, carried, steps, gain=None):
        return super().stream(x, None, steps, gain)


class TooProud(TwoLayers):
    unbounded_reason = ""

    def bound(self, length, gain=None):
        return Bound(1e-6)


class SaysThatItsBiasIsNone(TwoLayers):
    maps_zero_to_zero = True


def decoder(check, factory, says):
    return Wrong("decoder", check, factory, says)


DECODERS = (
    decoder("builds", with_infinite_parameter(TwoLayers), "not finite right after construction"),
    decoder("shape_and_precision", in_double_precision(TwoLayers), "the prediction is torch"),
    decoder("every_gradient_is_finite", with_spare_parameter(TwoLayers), "nothing depends on"),
    decoder("padding_is_ignored", GradientInThePadding, "gradient in the padding is not zero"),
    decoder("padded_and_unpadded_agree", KnowsThatThereIsPadding, "differs from that without"),
    decoder("streaming_agrees", ForgetsTheFirstChunk, "the prediction from chunks differs"),
    decoder("gain_as_declared", TooProud, "declares 1e-06, but has a slope of"),
    decoder("maps_zero_to_zero_as_declared", SaysThatItsBiasIsNone, "does not map zero to zero"),
)


# --- blocks -------------------------------------------------------------------------------------


class Unlisted(Parallel):
    @property
    def layers(self):
        return []


class SeesLaterSteps(Parallel):
    """Where nothing is padded, so that this is not found as an influence of padding."""

    def forward(self, x, lengths=None, dt=None):
        y = super().forward(x, lengths, dt)
        return y + x.mean(1, keepdim=True) if lengths is None else y


class SeesOtherSequences(Parallel):
    def _finished(self, x, v, y, lengths):
        made = super()._finished(x, v, y, lengths)
        return made + 0.1 * x.mean(0) if lengths is None and len(x) else made


class SeesThePadding(Parallel):
    def forward(self, x, lengths=None, dt=None):
        y = super().forward(x, lengths, dt)
        return y if lengths is None else y + x.mean(1, keepdim=True)


class NeedsASequence(Parallel):
    def forward(self, x, lengths=None, dt=None):
        return super().forward(x, lengths, dt) + 0 * x.detach().amax()


class ForgetsItsState(Parallel):
    def stream(self, x, state):
        return super().stream(x, None)


class WithoutReverseLayer(Parallel):
    one_direction_reason = ""


class ForgetsItsBranch(Parallel):
    def branch_bound(self, layers):
        return Bound(1e-3).then(Bound(1.0) if layers.finite else layers)


class BoundWithoutLayers(Parallel):
    def branch_bound(self, layers):
        return Bound(100.0)


class ForgetsItsBiases(Parallel):
    """From zero, its second branch adds an offset to small signals."""

    def branch_zero_state_bound(self, layers):
        return self.branch_bound(layers)


def block(check, factory, says, **more):
    return Wrong("block", check, factory, says, config=ParallelConfig, **more)


BLOCKS = (
    block("builds", Unlisted, "layers does not list its SSM layers"),
    block("keeps_shape_and_precision", in_double_precision(Parallel), "the output is torch"),
    block("every_gradient_is_finite", with_spare_parameter(Parallel), "nothing depends on"),
    block(
        "later_steps_have_no_influence",
        SeesLaterSteps,
        "an output depends on later inputs",
        also=("chunks_give_the_whole",),
    ),
    block("sequences_are_independent", SeesOtherSequences, "influence each other"),
    block("padding_has_no_influence", SeesThePadding, "padding changes valid outputs"),
    block("takes_an_empty_batch", NeedsASequence, "amax"),
    block("chunks_give_the_whole", ForgetsItsState, "chunks of a signal have other outputs"),
    block("both_directions", WithoutReverseLayer, "takes no reverse layer and gives no reason"),
    block("gain_stays_below_the_bound", ForgetsItsBranch, "but amplifies by"),
    block("zero_state_gain_stays_below_the_bound", ForgetsItsBiases, "zero-state gain of"),
    block(
        "has_no_bound_without_one_of_its_layers",
        BoundWithoutLayers,
        "although the gain of its layers is not known",
    ),
)

WRONG = (*NONLINEARITIES, *NORMS, *ENCODERS, *DECODERS, *BLOCKS)
