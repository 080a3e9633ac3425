"""Balanced truncation against pymor, which solves Stein equations instead of summing modes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from ssmbench import registry
from ssmbench.analysis.hinf import hinf_norm
from ssmbench.reduction import Amount, difference
from ssmbench.systems import DiscreteDense
from ssmbench.testing.reducers import example_lti_systems

iosys = pytest.importorskip("pymor.models.iosys")
bt = pytest.importorskip("pymor.reductors.bt")

EXAMPLES = example_lti_systems()


@pytest.mark.parametrize("kept", [1, 2])
@pytest.mark.parametrize("name", ["dense", "two by three pairs"])
def test_it_is_the_system_that_pymor_finds(name, kept):
    system = EXAMPLES[name]
    A, B, C, D = (getattr(system.to_dense(), key)[0].double().numpy() for key in "ABCD")
    model = iosys.LTIModel.from_matrices(A, B, C, D, sampling_time=1)
    reducer = registry.reducers.get("balanced_truncation").build()
    ours = reducer.reduce(system, Amount(order=2 * kept))
    assert np.allclose(ours.hankel[0].numpy(), model.hsv(), rtol=1e-9, atol=1e-13)
    found = bt.BTReductor(model).reduce(r=2 * kept, projection="sr").to_matrices()[:4]
    Ar, Br, Cr, Dr = (torch.from_numpy(np.array(matrix))[None] for matrix in found)
    theirs = DiscreteDense(A=Ar, B=Br, C=Cr, D=Dr)
    largest = float(model.hsv()[0])
    assert float(hinf_norm(difference(ours.system, theirs)).norm) < 1e-9 * largest
