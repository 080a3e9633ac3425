"""The types of arrays are checked in every test, and no others."""

from __future__ import annotations

import pytest
import torch
from jaxtyping import TypeCheckError

from ssmbench.lengths import mask_steps
from ssmbench.linalg.orthogonal import cayley
from ssmbench.nn.pooling import Pooling


def test_an_array_of_another_shape_is_refused():
    with pytest.raises(TypeCheckError, match="cayley"):
        cayley(torch.zeros(2, 3, 4))


def test_dimensions_of_one_name_are_of_one_size():
    valid = torch.ones(2, 5, dtype=torch.bool)
    with pytest.raises(TypeCheckError, match="mask_steps"):
        mask_steps(torch.zeros(2, 6, 3), valid)


def test_methods_are_checked_too():
    with pytest.raises(TypeCheckError, match=r"Pooling\.sum"):
        Pooling.mean.sum(torch.zeros(2, 3))


def test_other_types_are_not():
    assert not hasattr(Pooling.bound, "__wrapped__")
