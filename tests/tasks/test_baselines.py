"""Trivial predictors against what they must be by definition."""

import pytest
import torch

from ssmbench.tasks.baselines import LinearFilter, NearestNeighbour, always, majority_class, mean_of
from ssmbench.tasks.batch import Batch
from ssmbench.tasks.cache import CACHE_VARIABLE
from ssmbench.tasks.digits import Digits, DigitsConfig


def filtered(u, response, offset):
    """y_t = sum_k h_k u_{t-k} + offset, step by step."""
    y = torch.full_like(u, offset)
    for t in range(u.shape[1]):
        for k, h in enumerate(response):
            if t >= k:
                y[:, t] += h * u[:, t - k]
    return y


def test_a_linear_filter_is_recovered():
    u = torch.randn(3, 50, 1, generator=torch.Generator().manual_seed(0))
    batch = Batch(u, filtered(u, (0.5, -1.0, 0.25), 0.3))
    found = LinearFilter([batch, batch], taps=4)
    torch.testing.assert_close(
        found.response.squeeze(),
        torch.tensor([0.0, 0.25, -1.0, 0.5, 0.3]).double(),
        atol=1e-6,
        rtol=0,
    )
    torch.testing.assert_close(found(batch), batch.target, atol=1e-5, rtol=0)


def test_steps_that_are_not_scored_do_not_count():
    u = torch.randn(2, 40, 1, generator=torch.Generator().manual_seed(0))
    y = filtered(u, (0.5, -1.0), 0.0)
    found = LinearFilter([Batch(u, y[:, 10:])], taps=2)
    torch.testing.assert_close(found(Batch(u, y)), y, atol=1e-5, rtol=0)
    wrong = y.clone()
    wrong[0, 30:] = 100.0
    padded = Batch(u, wrong, lengths=torch.tensor([30, 40]))
    torch.testing.assert_close(LinearFilter([padded], taps=2)(Batch(u, y)), y, atol=1e-5, rtol=0)


def test_the_nearest_neighbour_of_a_known_sequence_is_itself():
    u = torch.randn(6, 5, 2, generator=torch.Generator().manual_seed(0))
    labels = torch.tensor([0, 1, 2, 2, 1, 0])
    predicted = NearestNeighbour(u, labels, 3)(Batch(u + 1e-3, labels))
    assert predicted.argmax(1).tolist() == labels.tolist()


def test_constant_predictions():
    batch = Batch(torch.zeros(2, 7, 1), torch.zeros(2))
    assert always(majority_class(torch.tensor([2, 1, 2]), 4))(batch).argmax(1).tolist() == [2, 2]
    assert always(mean_of(torch.tensor([[1.0], [3.0]])), per_step=True)(batch).shape == (2, 7, 1)


def test_scores_are_computed_once(tmp_path, monkeypatch):
    monkeypatch.setenv(CACHE_VARIABLE, str(tmp_path))
    task = Digits(DigitsConfig(), batch_size=50, seed=0)
    ((name, score),) = task.baseline_scores().items()
    labels = task.scored_targets("test")
    assert name == "majority class"
    assert score == pytest.approx(float((labels == most_frequent(task)).float().mean()))
    monkeypatch.setattr(Digits, "load", None)
    assert Digits(DigitsConfig(), batch_size=7, seed=1).baseline_scores() == {name: score}


def most_frequent(task):
    return torch.bincount(task.scored_targets("train")).argmax()
