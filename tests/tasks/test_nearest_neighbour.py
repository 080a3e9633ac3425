"""The nearest-neighbour classifier's certificate, against distances and against disturbances."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from ssmbench.build.task import build_task
from ssmbench.config import resolve, typed
from ssmbench.tasks.baselines import NearestNeighbour
from ssmbench.tasks.batch import Batch
from ssmbench.tasks.nearest_neighbour import neighbour_certificate


def drawn(seed: int, number: int, classes: int) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    u = torch.randn(number, 5, 2, generator=generator)
    return Batch(u, torch.arange(number) % classes)


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(2, 4))
def test_the_radius_is_safe_and_half_of_it_more_may_not_be(seed, classes):
    """Up to the radius no direction changes the class, that to the nearest of another class
    included; the distance between the two is a bound on what any certificate could give."""
    known, test = drawn(seed, 12, classes), drawn(seed + 1, 6, classes)
    found = neighbour_certificate([known.at(slice(0, 5)), known.at(slice(5, 12))], test, classes)
    classifier = NearestNeighbour(known.u, known.target, classes)
    before = classifier(test).argmax(1)
    assert torch.equal(found.right, before == test.target)
    distances = torch.cdist(test.u.flatten(1).double(), known.u.flatten(1).double())
    for row, (label, radius) in enumerate(zip(before.tolist(), found.radii.tolist(), strict=True)):
        others = distances[row][known.target != label]
        assert abs(radius - (others.min() - distances[row].min()).item() / 2) < 1e-6
    towards = known.u[_nearest_other(distances, known.target, before)] - test.u
    directions = [towards, torch.randn_like(test.u), -towards]
    for direction in directions:
        unit = direction / direction.flatten(1).norm(dim=1)[:, None, None]
        moved = test.u + 0.999 * found.radii.float()[:, None, None] * unit
        assert torch.equal(classifier(test._replace(u=moved)).argmax(1), before)


def _nearest_other(distances, labels, before):
    return distances.masked_fill(labels == before[:, None], torch.inf).argmin(1)


def test_digits_have_one_and_other_tasks_the_reason():
    found = build_task(typed(resolve({"task": "digits"}))).neighbour_certificate(50)
    assert found.radii.shape == found.right.shape == (50,)
    assert found.right.double().mean() > 0.9
    recall = build_task(typed(resolve({"task": "associative_recall"})))
    assert recall.neighbour_certificate(4) == "inputs are tokens, which have no distance"
