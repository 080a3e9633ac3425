"""Certified accuracy: never above what any disturbance leaves, and exact where that is known."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics import MeanSquaredError, MetricCollection

from ssmbench.build.task import build_task
from ssmbench.config import AnalysisConfig, resolve, typed
from ssmbench.nn.freeze import freeze
from ssmbench.nn.model import SequenceModel
from ssmbench.nn.pooling import Pooling
from ssmbench.results import LayerGains
from ssmbench.spec import Channels, TaskSizes
from ssmbench.tasks.base import Task
from ssmbench.tasks.batch import UNSCORED
from ssmbench.tasks.classification import Classification
from ssmbench.tasks.sequences import Sequences, Splits
from ssmbench.training import certificates as certificates_module
from ssmbench.training.certificates import Radii, certificates
from ssmbench.training.composed import KnownPairs, proved_pairs
from ssmbench.training.gains import proved_gains
from ssmbench.training.robustness import CERTIFIED_ENERGIES, robustness, typical_norm
from tests.builders import build_model
from tests.nn.networks import INPUTS, OUTPUTS, network

LENGTH, SEQUENCES = 8, 16
CONFIG = AnalysisConfig(robustness_steps=2, robustness_sequences=SEQUENCES)


class Drawn(Classification):
    """Noise with the classes that a network gives it, but for some that are wrong."""

    source = "drawn"

    def __init__(self, model: SequenceModel, *, per_step: bool = False, wrong: int = 3):
        self._model, self._per_step, self._wrong = model, per_step, wrong
        super().__init__(None, batch_size=SEQUENCES, seed=0)

    @property
    def sizes(self) -> TaskSizes:
        return TaskSizes(Channels(INPUTS), OUTPUTS, LENGTH, per_step=self._per_step)

    def load(self) -> Splits:
        return Splits(*map(self._draw, range(3)))

    def _draw(self, seed: int) -> Sequences:
        generator = torch.Generator().manual_seed(seed)
        u = torch.randn(SEQUENCES, LENGTH, INPUTS, generator=generator)
        with torch.no_grad():
            target = freeze(self._model)(self._model.as_input(u)).argmax(-1)
        target[: self._wrong] = (target[: self._wrong] + 1) % OUTPUTS
        return Sequences(u, target)


def layers_of(model: SequenceModel) -> list[LayerGains]:
    return [proved_gains(layer, 0.0) for layer in model.layers]


def classifier(seed: int = 0, gamma: float | None = 3.0, **options) -> SequenceModel:
    options = {"pooling": Pooling.unit, "layers": 1, "nonlinearity": "groupsort"} | options
    return network("contraction", gamma=gamma, seed=seed, dtype=torch.float32, **options)


def score(points, kind: str) -> dict[float, float]:
    return {point.energy: point.score for point in points if point.kind == kind}


@pytest.fixture(scope="module")
def measured():
    """A pooled and a per-step classifier, each with its task and the adversary's scores."""
    found = {}
    for per_step, gamma in ((False, 3.0), (True, None)):
        model = classifier(gamma=gamma, pooling=None if per_step else Pooling.unit)
        task = Drawn(model, per_step=per_step)
        found[per_step] = (model, task, score(robustness(model, task, CONFIG), "adversarial"))
    return found


@pytest.mark.parametrize("per_step", [False, True])
def test_certified_is_never_above_adversarial_and_that_never_above_clean(per_step, measured):
    model, task, attacked = measured[per_step]
    found = certificates(model, task, CONFIG, layers_of(model))
    proved = score(found.curve, "certified")
    assert list(proved) == list(CERTIFIED_ENERGIES)
    assert set(proved) <= set(attacked)
    for energy, share in proved.items():
        assert share <= attacked[energy] <= attacked[0.0]
    assert proved[0.0] == attacked[0.0], "undisturbed, every right prediction is certified"
    assert sorted(proved.values(), reverse=True) == list(proved.values())
    assert proved[0.003] > 0, "the test would be empty otherwise"
    assert proved[3.0] < 0.1
    assert found.figures.of == ("step" if per_step else "sequence")
    assert found.figures.gains_from == "input"


def linear() -> SequenceModel:
    """W p + b of the pooled input p."""
    torch.manual_seed(0)
    model = build_model([], inputs=INPUTS, d_model=INPUTS, outputs=OUTPUTS, pooling=Pooling.unit)
    with torch.no_grad():
        model.encoder.weight.copy_(torch.eye(INPUTS))
        model.encoder.bias.zero_()
    return model


def test_a_linear_classifier_is_certified_exactly():
    """The distance to the boundary is known in closed form."""
    model = linear()
    task = Drawn(model)
    found = certificates(model, task, CONFIG, [])
    u = task.split("test").u.double()
    W, b = model.decoder.weight.detach().double(), model.decoder.bias.detach().double()
    z = u.sum(1) / math.sqrt(LENGTH) @ W.mT + b
    top, place = z.max(1, keepdim=True)
    distances = (top - z) / (W[place] - W).norm(dim=-1)
    radii = distances.scatter(1, place, math.inf).amin(1)
    radii[:3] = 0
    typical = u.flatten(1).norm(dim=1).square().mean().sqrt()
    assert found.figures.typical_norm == pytest.approx(typical.item())
    assert found.figures.median_radius == pytest.approx((radii.median() / typical).item(), rel=2e-2)
    for energy, share in score(found.curve, "certified").items():
        assert share == ((radii > energy * typical) & (radii > 0)).double().mean().item()


@settings(max_examples=8, deadline=None)
@given(
    st.integers(0, 10_000),
    st.sampled_from([0.3, 3.0, 30.0]),
    st.sampled_from(list(Pooling)),
    st.integers(1, 2),
)
def test_no_disturbance_within_the_radius_changes_a_prediction(seed, gamma, pooling, layers):
    """By chance, and by ascent of the loss from there."""
    model = classifier(seed, gamma, pooling=pooling, layers=layers)
    survived, tried = _within(model, factor=0.999, seed=seed)
    assert tried > 0
    assert survived == tried


def _within(model: SequenceModel, factor: float, seed: int = 0, steps: int = 5) -> tuple[int, int]:
    """How many predictions survive an ascent at ``factor`` times their radius, and of how many."""
    task, frozen = Drawn(model, wrong=0), freeze(model)
    batch = task.sample("test")
    pairs = proved_pairs(model, layers_of(model), LENGTH)
    exact = certificates_module.exact_map(frozen, batch.u[:1])
    given_ = certificates_module._Signals(batch.u, batch, SEQUENCES)
    radii = certificates_module.radii_of(frozen, exact, pairs, given_).radii.float()
    generator = torch.Generator().manual_seed(seed)
    direction = torch.randn(batch.u.shape, generator=generator)
    alive = torch.ones(SEQUENCES, dtype=torch.bool)
    for _ in range(steps):
        direction = direction / direction.flatten(1).norm(dim=1)[:, None, None]
        direction = direction.detach().requires_grad_()
        logits = frozen(batch.u + factor * radii[:, None, None] * direction)
        alive &= logits.argmax(1) == batch.target
        loss = torch.nn.functional.cross_entropy(logits, batch.target, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, direction)
        direction = gradient + 1e-12
    tried = (radii > 0) & torch.isfinite(radii)
    return int((alive & tried).sum()), int(tried.sum())


# --- planted lies ---------------------------------------------------------------------------------


def test_radii_in_units_of_the_input_and_not_of_a_typical_one_are_caught(monkeypatch):
    """The planted lie: energies that are compared with radii without the typical norm."""
    model = linear()
    task = Drawn(model)
    attacked = score(robustness(model, task, CONFIG), "adversarial")
    honest = score(certificates(model, task, CONFIG, []).curve, "certified")
    monkeypatch.setattr(certificates_module, "typical_norm", lambda signals: 1.0)
    lie = score(certificates(model, task, CONFIG, []).curve, "certified")
    assert all(share <= attacked[energy] for energy, share in honest.items())
    assert any(share > attacked[energy] for energy, share in lie.items())


def test_a_gain_that_forgets_the_decoder_is_caught(monkeypatch):
    """Radii from the gain of the features alone, where the decoder's is 30 times as large."""
    model = classifier(gamma=None)
    with torch.no_grad():
        model.decoder.weight.mul_(30)
    assert _within(model, 0.999) == (SEQUENCES, SEQUENCES)
    whole = torch.linalg.matrix_norm(model.decoder.weight.double(), 2).item()
    survived, tried = _within(model, 0.999 * whole)
    assert survived < tried


# --- what cannot be certified ---------------------------------------------------------------------


def test_without_a_finite_bound_there_is_the_reason_and_no_curve():
    model = classifier(gamma=None, norm="layer")
    found = certificates(model, Drawn(model), CONFIG, layers_of(model))
    assert found.curve == ()
    assert found.figures.median_radius is None
    assert "layer" in found.figures.reason.lower()
    assert found.figures.nearest_neighbour.median_radius is not None


def test_nothing_where_robustness_is_not_measured():
    model = classifier()
    off = dataclasses.replace(CONFIG, robustness=False)
    assert certificates(model, Drawn(model), off, layers_of(model)).figures is None
    with torch.no_grad():
        model.decoder.bias.fill_(math.nan)
    assert certificates(model, Drawn(classifier()), CONFIG, layers_of(model)).figures is None


def test_a_sharper_gain_that_is_known_is_used_at_its_own_length_only():
    model = classifier()
    task, layers = Drawn(model), layers_of(model)
    half = dataclasses.replace(proved_pairs(model, layers, LENGTH))
    half = dataclasses.replace(half, matrix=half.matrix / 2)
    plain, sharp, other = (
        certificates(model, task, CONFIG, layers, known).figures.median_radius
        for known in (None, KnownPairs(half, (LENGTH,)), KnownPairs(half, (LENGTH + 1,)))
    )
    assert sharp == pytest.approx(2 * plain)
    assert other == plain


def test_steps_that_are_not_scored_do_not_count():
    model = classifier(pooling=None)
    task = Drawn(model, per_step=True, wrong=0)
    task.split("test").target[:, : LENGTH // 2] = UNSCORED
    found = certificates(model, task, CONFIG, layers_of(model))
    assert score(found.curve, "certified")[0.0] == 1.0


def test_typical_norm_is_the_root_mean_square():
    signals = torch.tensor([[[3.0], [4.0]], [[0.0], [0.0]]])
    assert typical_norm(signals) == pytest.approx(5 / math.sqrt(2))


# --- real outputs ---------------------------------------------------------------------------------


class Scaled(Task):
    """y = 2 u0 in volts, where the network gives u0 / 3 of a unit of 6 V; per step."""

    score, higher_is_better, unit = "rmse", False, "V"
    sizes = TaskSizes(Channels(INPUTS), outputs=OUTPUTS, length=LENGTH, per_step=True)
    source = "drawn"

    def load(self):
        def draw(seed):
            generator = torch.Generator().manual_seed(seed)
            u = torch.randn(SEQUENCES, LENGTH, INPUTS, generator=generator)
            return Sequences(u, u[..., :1].expand(-1, -1, OUTPUTS).clone())

        return Splits(*map(draw, range(3)))

    def loss(self, prediction, target):
        return torch.nn.functional.mse_loss(prediction, target)

    def metrics(self):
        return MetricCollection({"rmse": MeanSquaredError(squared=False)})

    def output_scales(self):
        return torch.tensor([6.0, 1.0, 1.0])


def test_real_outputs_have_the_largest_change_that_a_typical_norm_can_make():
    """A linear network of known rows, in the unit of the task; an exact disturbance reaches it."""
    model = build_model([], inputs=INPUTS, d_model=INPUTS, outputs=OUTPUTS)
    with torch.no_grad():
        model.encoder.weight.copy_(torch.eye(INPUTS))
        model.decoder.weight.copy_(torch.tensor([[3.0, 4.0], [1.0, 0.0], [0.0, 0.0]]))
    task = Scaled(None, batch_size=4, seed=0)
    figures = certificates(model, task, CONFIG, []).figures
    typical = figures.typical_norm
    assert figures.largest_changes == pytest.approx((30 * typical, typical, 0.0), rel=2e-4)
    assert figures.unit == "V"
    assert figures.nearest_neighbour is None
    along = torch.zeros(1, LENGTH, INPUTS)
    along[0, 0] = typical * torch.tensor([0.6, 0.8])
    u = task.split("test").u[:1]
    with torch.no_grad():
        change = (model(u + along) - model(u)).norm(dim=1)[0] * task.output_scales()
    assert change.tolist() == pytest.approx((30 * typical, typical * 0.6, 0.0), rel=1e-4, abs=1e-5)


def test_physical_units_of_a_record_are_those_of_its_normalisation():
    task = build_task(typed(resolve({"task": {"name": "two_tanks"}})))
    scales = task.output_scales()
    zero, one = torch.zeros(1, len(scales)), torch.ones(1, len(scales))
    moved = task.to_metric(one, zero)[0] - task.to_metric(zero, zero)[0]
    torch.testing.assert_close(moved.double(), scales.double(), rtol=1e-5, atol=1e-6)


def test_the_median_of_infinite_radii_is_infinite():
    right = torch.ones(4, dtype=torch.bool)
    assert Radii(torch.full((4,), math.inf).double(), right).median(1.0) == math.inf
    half = torch.tensor([1.0, 2.0, math.inf, math.inf]).double()
    assert Radii(half, right).median(1.0) == 2.0
