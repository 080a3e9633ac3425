"""What a subclass inherits of a map that it redefines: nothing that is claimed of the old one."""

from __future__ import annotations

from torch import nn

from ssmbench.analysis.certificate import Bound
from ssmbench.nn.blocks.residual import ResidualBlock
from ssmbench.nn.decoders.linear import PerStep, Pooled
from ssmbench.nn.nonlinearities.pointwise import ReLU
from ssmbench.nn.norms.stepwise import NoNorm


class Biased(ReLU):
    def forward(self, x):
        return super().forward(x) + 1


class BiasedNorm(NoNorm):
    def forward(self, x, lengths=None):
        return x + 1


class Louder(PerStep):
    def forward(self, x, lengths=None, gain=None):
        return 5 * super().forward(x, lengths, gain)


class LouderPooled(Pooled):
    def read(self, vectors, gain=None):
        return 5 * super().read(vectors, gain)


class LouderBlock(ResidualBlock):
    def _branch(self, y):
        return 5 * super()._branch(y)


def test_another_map_need_not_map_zero_to_zero():
    assert ReLU.maps_zero_to_zero
    assert not Biased.maps_zero_to_zero
    assert NoNorm.maps_zero_to_zero
    assert not BiasedNorm.maps_zero_to_zero


def test_another_decoder_has_no_rows_of_the_old_one():
    for kind in (Louder, LouderPooled):
        assert kind.__new__(kind).rows() is None


def test_another_branch_has_no_bound_of_the_old_one():
    block = LouderBlock.__new__(LouderBlock)
    nn.Module.__init__(block)
    assert not block.branch_zero_state_bound(Bound(1.0)).finite
