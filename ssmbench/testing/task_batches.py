"""Conformance checks of a task: sizes, batches, loss and metrics."""

from __future__ import annotations

import math
import pickle
from collections.abc import Iterator

import torch
from torch import Tensor
from torchmetrics import MetricCollection

from ssmbench.nn.contracts import check_built
from ssmbench.origins import describe_type
from ssmbench.spec import Pair, Tokens
from ssmbench.tasks.base import Task
from ssmbench.tasks.batch import Batch
from ssmbench.tasks.sequences import Splits
from ssmbench.tasks.splits import Split
from ssmbench.testing.report import CheckFunction, Subject, skip_if_none, skip_unless

SPLITS: tuple[Split, ...] = ("train", "val", "test")
#: The largest number of sequences that are read from a split.
MAX_SEQUENCES = 1024
_BATCH = 4


def builds(subject: Subject) -> None:
    """It can be built without reading data."""
    check_built(subject.entry, subject.build(batch_size=2, seed=0), Task)


def metadata_is_complete(subject: Subject) -> None:
    """It has a summary, the source of its data, and states whether a higher score is better."""
    task = loaded_task(subject)
    assert subject.entry.summary, "no summary: the first line of the docstring of the class"
    assert task.source, "source is empty: it must name the source of the data"
    assert isinstance(task.higher_is_better, bool), "higher_is_better must be True or False"


def sizes_known_before_loading(subject: Subject) -> None:
    """``sizes`` is known without loading data, and does not change when they are loaded."""
    task = subject.build(batch_size=2, seed=0)
    loaded, load = [], task.load

    def record_load() -> Splits:
        loaded.append(True)
        return load()

    task.load = record_load
    before = task.sizes
    assert not loaded, "reading sizes loads the data"
    task.setup()
    assert task.sizes == before, f"sizes are {before} before loading and {task.sizes} afterwards"


def batches_as_declared(subject: Subject) -> None:
    """Batches have the shapes and dtypes that ``sizes`` implies, and finite values."""
    task = loaded_task(subject)
    for split in SPLITS:
        for batch in _read(task, split):
            _check_input(task, batch)
            _check_lengths(task, batch)
            _check_target(task, batch)


def training_length_as_declared(subject: Subject) -> None:
    """The longest training sequence has ``sizes.length`` steps."""
    task = loaded_task(subject)
    data = task.split("train")
    longest = max(int(_lengths(task, batch).max()) for batch in _read(task, "train"))
    length = task.sizes.length
    assert longest <= length, f"a training sequence of {longest} steps; sizes.length is {length}"
    longest_is_read = len(data) <= MAX_SEQUENCES or next(_read(task, "train")).lengths is None
    found = f"the longest training sequence has {longest} steps; sizes.length is {length}"
    assert longest == length or not longest_is_read, found


def loss_and_score_are_finite(subject: Subject) -> None:
    """The loss is a finite scalar that depends on the prediction; the score is finite."""
    task = loaded_task(subject)
    for split in SPLITS:
        batch = next(_read(task, split))
        prediction = _prediction(task, batch).requires_grad_()
        loss = task.batch_loss(prediction, batch)
        assert loss.shape == (), f"{split}: the loss has shape {tuple(loss.shape)}, not ()"
        assert torch.isfinite(loss), f"{split}: the loss is not finite"
        (gradient,) = torch.autograd.grad(loss, prediction)
        assert torch.isfinite(gradient).all(), f"{split}: the gradient of the loss is not finite"
        assert gradient.any(), f"{split}: the loss does not depend on the prediction"
        score = _score(task, prediction.detach(), batch)
        assert math.isfinite(score), f"{split}: the score {task.score} is {score}"


def metrics_are_new_objects(subject: Subject) -> None:
    """Each call of ``metrics`` returns a new MetricCollection that contains the score."""
    task = loaded_task(subject)
    first = task.metrics()
    assert isinstance(first, MetricCollection), (
        f"metrics() returns {describe_type(first)}, not a MetricCollection"
    )
    assert task.score in first, (
        f"metrics() has no {task.score!r}, the score; it has {', '.join(map(str, first))}"
    )
    assert task.metrics() is not first, "metrics() returns the same object again"


def padding_has_no_influence(subject: Subject) -> None:
    """The padding of targets and predictions affects neither the loss nor the score, even if it is
    NaN.
    """
    task = loaded_task(subject)
    for split in SPLITS:
        batch = next(_read(task, split))
        lengths = skip_if_none(batch.lengths, "all of its sequences have the same length")
        skip_unless(task.sizes.per_step, "its predictions are not per step")
        prediction = _prediction(task, batch)
        steps = torch.arange(prediction.shape[1])
        beyond = steps >= lengths[:, None]
        first = prediction.shape[1] - batch.target.shape[1]
        target = _filled(batch.target, beyond[:, first:])
        filled = _filled(prediction, beyond), batch._replace(target=target)
        loss, changed = task.batch_loss(prediction, batch), task.batch_loss(*filled)
        assert torch.equal(loss, changed), f"{split}: the padding changes the loss"
        same = _score(task, prediction, batch) == _score(task, *filled)
        assert same, f"{split}: the padding changes the score"


def mean_loss_over_ranks_agrees(subject: Subject) -> None:
    """The weighted mean of the losses of two halves of a batch is the loss of the batch."""
    task = loaded_task(subject)
    batch = next(_read(task, "train"))
    skip_unless(batch.size >= 2, "it has only one training sequence")
    prediction = _prediction(task, batch)
    half = batch.size // 2
    weighted, weights = 0.0, 0
    for part in (slice(0, half), slice(half, None)):
        weight = batch.at(part).weight(prediction[part])
        weighted += weight * task.batch_loss(prediction[part], batch.at(part)).item()
        weights += weight
    whole = task.batch_loss(prediction, batch).item()
    close = math.isclose(weighted / weights, whole, rel_tol=1e-4, abs_tol=1e-6)
    assert close, f"the loss of a batch is {whole}, the mean over its halves {weighted / weights}"


def augmentation_keeps_shapes(subject: Subject) -> None:
    """``augment`` keeps shapes and dtypes, and does not modify its argument."""
    task = loaded_task(subject)
    batch = next(_read(task, "train"))
    before = pickle.dumps(tuple(batch))
    after = task.augment(batch)
    assert isinstance(after, Batch), f"augment returns {describe_type(after)}, not a Batch"
    assert pickle.dumps(tuple(batch)) == before, "augment modifies the batch that it is given"
    for name, old, new in zip(Batch._fields, batch, after, strict=True):
        assert _form(old) == _form(new), f"augment changes the shape or the dtype of {name}"


BATCH_CHECKS: tuple[CheckFunction, ...] = (
    builds,
    metadata_is_complete,
    sizes_known_before_loading,
    batches_as_declared,
    training_length_as_declared,
    loss_and_score_are_finite,
    metrics_are_new_objects,
    padding_has_no_influence,
    mean_loss_over_ranks_agrees,
    augmentation_keeps_shapes,
)


# --- helpers ------------------------------------------------------------------------------------


#: The subject whose data were loaded most recently, and its task.
_loaded: list[tuple[Subject, Task]] = []


def loaded_task(subject: Subject) -> Task:
    """The task with its data loaded, once for all checks of a subject."""
    if not _loaded or _loaded[0][0] is not subject:
        task = subject.build(batch_size=2, seed=0)
        task.setup()
        _loaded[:] = [(subject, task)]
    return _loaded[0][1]


def _read(task: Task, split: Split) -> Iterator[Batch]:
    """The first sequences of a split, batch by batch."""
    data = task.split(split)
    number = min(len(data), MAX_SEQUENCES)
    assert number > 0, f"{split}: has no sequences"
    for start in range(0, number, _BATCH):
        batch = data.batch(range(start, min(start + _BATCH, number)))
        assert isinstance(batch, Batch), (
            f"{split}: batch returns {describe_type(batch)}, not a Batch"
        )
        yield batch


def _lengths(task: Task, batch: Batch) -> Tensor:
    """The number of valid steps of each sequence, (B,) or, for pairs, (B, 2)."""
    one = batch.u.ndim - (0 if isinstance(task.sizes.sequence, Tokens) else 1)
    total = batch.u.shape[one - 1]
    return torch.full(batch.u.shape[: one - 1], total) if batch.lengths is None else batch.lengths


def _check_input(task: Task, batch: Batch) -> None:
    spec, u = task.sizes.sequence, batch.u
    pair = (2,) if isinstance(task.sizes.input, Pair) else ()
    tokens = isinstance(spec, Tokens)
    ending = () if tokens else (spec.count,)
    steps = u.shape[1 + len(pair)] if u.ndim > 1 + len(pair) else 0
    expected = (len(batch.target), *pair, steps, *ending)
    assert tuple(u.shape) == expected, f"u has shape {tuple(u.shape)}, not {expected}"
    dtype = torch.int64 if tokens else torch.float32
    assert u.dtype == dtype, f"u is {u.dtype}, not {dtype}"
    lengths = _lengths(task, batch)
    valid = u[torch.arange(steps) < lengths[..., None]]
    if tokens:
        inside = bool(((valid >= 0) & (valid < spec.vocabulary)).all())
        assert inside, f"tokens are outside 0..{spec.vocabulary - 1}"
    else:
        assert torch.isfinite(valid).all(), "u is not finite"
    if batch.dt is not None:
        assert batch.dt.shape == u.shape[: 2 + len(pair)], (
            "dt must have one number for each step of u"
        )
        given = batch.dt[torch.arange(steps) < lengths[..., None]]
        assert bool((torch.isfinite(given) & (given > 0)).all()), "dt must be positive and finite"


def _check_lengths(task: Task, batch: Batch) -> None:
    if batch.lengths is None:
        return
    pair = (2,) if isinstance(task.sizes.input, Pair) else ()
    total = batch.u.shape[1 + len(pair)]
    lengths = batch.lengths
    assert lengths.shape == (batch.size, *pair), f"lengths has shape {tuple(lengths.shape)}"
    assert lengths.dtype == torch.int64, f"lengths is {lengths.dtype}, not torch.int64"
    inside = bool(((lengths >= 1) & (lengths <= total)).all())
    assert inside, f"lengths are outside 1..{total}"


def _check_target(task: Task, batch: Batch) -> None:
    target = batch.target
    assert len(target) == batch.size, f"there are {len(target)} targets for {batch.size} sequences"
    if task.sizes.per_step:
        within = target.ndim >= 2 and 1 <= target.shape[1] <= batch.u.shape[1]
        assert within, f"the target has shape {tuple(target.shape)} for {batch.u.shape[1]} steps"
    scored = batch.scored(_prediction(task, batch))[1]
    assert torch.isfinite(scored).all(), "the target is not finite"


def _prediction(task: Task, batch: Batch) -> Tensor:
    steps = (batch.u.shape[1],) if task.sizes.per_step else ()
    generator = torch.Generator().manual_seed(1)
    return torch.randn(batch.size, *steps, task.sizes.outputs, generator=generator)


def _score(task: Task, prediction: Tensor, batch: Batch) -> float:
    metrics = task.metrics()
    metrics.update(*task.batch_metric(prediction, batch))
    return float(metrics.compute()[task.score])


def _form(part: Tensor | None) -> tuple[torch.Size, torch.dtype] | None:
    return None if part is None else (part.shape, part.dtype)


def _filled(values: Tensor, beyond: Tensor) -> Tensor:
    """``values`` with NaN, or the largest integer, where ``beyond`` (B, L) is True."""
    filling = math.nan if values.is_floating_point() else torch.iinfo(values.dtype).max
    return values.masked_fill(
        beyond.reshape(*beyond.shape, *(1 for _ in values.shape[2:])), filling
    )
