"""The certificate of the nearest-neighbour classifier, a floor for networks that certify theirs."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float64
from torch import Tensor

from ssmbench.analysis.radius import nearest_neighbour_radii
from ssmbench.tasks.batch import Batch


@dataclass(frozen=True)
class NeighbourCertificate:
    """Of the first test sequences: the radius (n,), in the l2 norm of the input, in which the class
    of the nearest training sequence cannot change; and whether it is right."""

    radii: Float64[Tensor, " n"]
    right: Bool[Tensor, " n"]


def neighbour_certificate(
    train: Iterable[Batch], test: Batch, classes: int
) -> NeighbourCertificate:
    """Of sequences of real numbers and equal lengths, one class each."""
    points = test.u.flatten(1).double()
    nearest = torch.full((len(points), classes), torch.inf, dtype=torch.float64)
    largest = torch.zeros((), dtype=torch.float64)
    for batch in train:
        known = batch.u.flatten(1).double()
        labels = batch.target.expand(len(points), -1)
        nearest = nearest.scatter_reduce(1, labels, _squares(points, known), "amin")
        largest = torch.maximum(largest, known.square().sum(1).max())
    # What rounding may move a square: a sum of as many products as there are samples.
    unit = torch.finfo(torch.float64).eps * (points.shape[1] + 4)
    error = unit * (points.square().sum(1) + largest)
    label = nearest.argmin(1)
    same, other = nearest.topk(2, 1, largest=False).values.unbind(1)
    radii = nearest_neighbour_radii((same + error).sqrt(), (other - error).clamp_min(0).sqrt())
    return NeighbourCertificate(radii, label == test.target)


def _squares(
    points: Float64[Tensor, "n d"], known: Float64[Tensor, "m d"]
) -> Float64[Tensor, "n m"]:
    """Squared distances."""
    norms = points.square().sum(1)[:, None] + known.square().sum(1)
    return (norms - 2 * points @ known.mT).clamp_min(0)
