"""Checks of a task: its sizes, its batches, its loss and its metrics."""

from __future__ import annotations

import math
import pickle
from collections.abc import Iterator

import torch
from torch import Tensor
from torchmetrics import MetricCollection

from ssmbench.nn.contracts import check_built
from ssmbench.spec import Pair, Tokens
from ssmbench.tasks.base import Split, Task
from ssmbench.tasks.batch import Batch
from ssmbench.tasks.sequences import Splits
from ssmbench.testing.report import CheckFunction, Subject, skip_if_none, skip_unless

SPLITS: tuple[Split, ...] = ("train", "val", "test")
#: Sequences of a split that are read.
MAX_SEQUENCES = 1024
_BATCH = 4


def builds(subject: Subject) -> None:
    """It can be built before its data are read."""
    check_built(subject.entry, subject.build(batch_size=2, seed=0), Task)


def says_what_it_is(subject: Subject) -> None:
    """It has a summary, and says where its data are from and whether a high score is good."""
    task = loaded_task(subject)
    assert subject.entry.summary, "no summary: the first line of the class's docstring"
    assert task.source, "source is empty: where are the data from?"
    assert isinstance(task.higher_is_better, bool), "higher_is_better must be True or False"


def sizes_known_before_loading(subject: Subject) -> None:
    """Its sizes are there before any data are, and the same afterwards."""
    task = subject.build(batch_size=2, seed=0)
    loaded, load = [], task.load

    def record_load() -> Splits:
        loaded.append(True)
        return load()

    task.load = record_load
    before = task.sizes
    assert not loaded, "the sizes load the data"
    task.setup()
    assert task.sizes == before, f"sizes were {before}, and are {task.sizes} after loading"


def batches_as_declared(subject: Subject) -> None:
    """Batches of every split have the shapes and types that the sizes say, and finite values."""
    task = loaded_task(subject)
    for split in SPLITS:
        for batch in _read(task, split):
            _check_input(task, batch)
            _check_lengths(task, batch)
            _check_target(task, batch)


def training_length_as_declared(subject: Subject) -> None:
    """No training sequence is longer than the sizes say, and one is as long."""
    task = loaded_task(subject)
    data = task.split("train")
    longest = max(int(_lengths(task, batch).max()) for batch in _read(task, "train"))
    length = task.sizes.length
    assert longest <= length, f"a training sequence of {longest} steps; sizes.length is {length}"
    every = len(data) <= MAX_SEQUENCES or next(_read(task, "train")).lengths is None
    assert not every or longest == length, f"the longest has {longest} steps, not {length}"


def loss_and_score(subject: Subject) -> None:
    """The loss is one finite number that depends on the prediction; the score is finite."""
    task = loaded_task(subject)
    for split in SPLITS:
        batch = next(_read(task, split))
        prediction = _prediction(task, batch).requires_grad_()
        loss = task.batch_loss(prediction, batch)
        assert loss.shape == (), f"{split}: the loss has the shape {tuple(loss.shape)}"
        assert torch.isfinite(loss), f"{split}: the loss is not finite"
        (gradient,) = torch.autograd.grad(loss, prediction)
        assert torch.isfinite(gradient).all(), f"{split}: the loss's gradient is not finite"
        assert gradient.any(), f"{split}: the loss does not depend on the prediction"
        score = _score(task, prediction.detach(), batch)
        assert math.isfinite(score), f"{split}: the score {task.score} is {score}"


def metrics_are_fresh(subject: Subject) -> None:
    """Every call of metrics gives a new MetricCollection, with the score among its names."""
    task = loaded_task(subject)
    first = task.metrics()
    assert isinstance(first, MetricCollection), f"metrics() gives a {type(first).__name__}"
    assert task.score in first, f"no metric called {task.score}: {', '.join(map(str, first))}"
    assert task.metrics() is not first, "metrics() gives the same object again"


def padding_has_no_influence(subject: Subject) -> None:
    """Whatever is in the padding of targets and predictions, NaN too: same loss, same score."""
    task = loaded_task(subject)
    for split in SPLITS:
        batch = next(_read(task, split))
        lengths = skip_if_none(batch.lengths, "its sequences all have one length")
        skip_unless(task.sizes.per_step, "its predictions are not per step")
        prediction = _prediction(task, batch)
        steps = torch.arange(prediction.shape[1])
        beyond = steps >= lengths[:, None]
        first = prediction.shape[1] - batch.target.shape[1]
        target = _filled(batch.target, beyond[:, first:])
        other, spoilt = _filled(prediction, beyond), batch._replace(target=target)
        loss, changed = task.batch_loss(prediction, batch), task.batch_loss(other, spoilt)
        assert torch.equal(loss, changed), f"{split}: the padding changes the loss"
        same = _score(task, prediction, batch) == _score(task, other, spoilt)
        assert same, f"{split}: the padding changes the score"


def mean_over_ranks_is_the_joint_loss(subject: Subject) -> None:
    """The losses of two halves of a batch, weighted, have the loss of the batch as their mean."""
    task = loaded_task(subject)
    batch = next(_read(task, "train"))
    skip_unless(batch.size >= 2, "it has one training sequence")
    prediction = _prediction(task, batch)
    half = batch.size // 2
    joint, weights = 0.0, 0
    for part in (slice(0, half), slice(half, None)):
        weight = batch.at(part).weight(prediction[part])
        joint += weight * task.batch_loss(prediction[part], batch.at(part)).item()
        weights += weight
    whole = task.batch_loss(prediction, batch).item()
    close = math.isclose(joint / weights, whole, rel_tol=1e-4, abs_tol=1e-6)
    assert close, f"the loss of a batch is {whole}, the mean over its halves {joint / weights}"


def augmentation_keeps_the_batch(subject: Subject) -> None:
    """Augmenting gives a batch of the same shapes and types, and leaves the given one alone."""
    task = loaded_task(subject)
    batch = next(_read(task, "train"))
    before = pickle.dumps(tuple(batch))
    after = task.augment(batch)
    assert isinstance(after, Batch), f"augment gives a {type(after).__name__}, not a Batch"
    assert pickle.dumps(tuple(batch)) == before, "augment changes the batch that it is given"
    for name, old, new in zip(Batch._fields, batch, after, strict=True):
        assert _form(old) == _form(new), f"augment changes the shape or the type of {name}"


BATCH_CHECKS: tuple[CheckFunction, ...] = (
    builds,
    says_what_it_is,
    sizes_known_before_loading,
    batches_as_declared,
    training_length_as_declared,
    loss_and_score,
    metrics_are_fresh,
    padding_has_no_influence,
    mean_over_ranks_is_the_joint_loss,
    augmentation_keeps_the_batch,
)


# --- parts of checks ------------------------------------------------------------------------------


#: The subject whose data were loaded last, and its task.
_loaded: list[tuple[Subject, Task]] = []


def loaded_task(subject: Subject) -> Task:
    """A task with its data, the same one for all checks of a subject."""
    if not _loaded or _loaded[0][0] is not subject:
        task = subject.build(batch_size=2, seed=0)
        task.setup()
        _loaded[:] = [(subject, task)]
    return _loaded[0][1]


def _read(task: Task, split: Split) -> Iterator[Batch]:
    """The first sequences of a split, batch by batch."""
    data = task.split(split)
    number = min(len(data), MAX_SEQUENCES)
    assert number > 0, f"{split}: no sequences"
    for start in range(0, number, _BATCH):
        batch = data.batch(range(start, min(start + _BATCH, number)))
        assert isinstance(batch, Batch), f"{split}: gives a {type(batch).__name__}, not a Batch"
        yield batch


def _lengths(task: Task, batch: Batch) -> Tensor:
    """Steps of each sequence."""
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
    assert tuple(u.shape) == expected, f"u has the shape {tuple(u.shape)}, not {expected}"
    dtype = torch.int64 if tokens else torch.float32
    assert u.dtype == dtype, f"u is {u.dtype}, not {dtype}"
    lengths = _lengths(task, batch)
    valid = u[torch.arange(steps) < lengths[..., None]]
    if tokens:
        inside = bool(((valid >= 0) & (valid < spec.vocabulary)).all())
        assert inside, f"tokens outside 0..{spec.vocabulary - 1}"
    else:
        assert torch.isfinite(valid).all(), "u is not finite"
    if batch.dt is not None:
        assert batch.dt.shape == u.shape[: 2 + len(pair)], "dt needs one number for each step of u"
        given = batch.dt[torch.arange(steps) < lengths[..., None]]
        assert bool((torch.isfinite(given) & (given > 0)).all()), "dt is not positive and finite"


def _check_lengths(task: Task, batch: Batch) -> None:
    if batch.lengths is None:
        return
    pair = (2,) if isinstance(task.sizes.input, Pair) else ()
    total = batch.u.shape[1 + len(pair)]
    lengths = batch.lengths
    assert lengths.shape == (batch.size, *pair), f"lengths of shape {tuple(lengths.shape)}"
    assert lengths.dtype == torch.int64, f"lengths are {lengths.dtype}, not torch.int64"
    inside = bool(((lengths >= 1) & (lengths <= total)).all())
    assert inside, f"lengths outside 1..{total}"


def _check_target(task: Task, batch: Batch) -> None:
    target = batch.target
    assert len(target) == batch.size, f"{len(target)} targets for {batch.size} sequences"
    if task.sizes.per_step:
        within = target.ndim >= 2 and 1 <= target.shape[1] <= batch.u.shape[1]
        assert within, f"targets of shape {tuple(target.shape)} for {batch.u.shape[1]} steps"
    scored = batch.scored(_prediction(task, batch))[1]
    assert torch.isfinite(scored).all(), "targets are not finite"


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
    """NaN in the padding; of whole numbers, the largest there is."""
    filling = math.nan if values.is_floating_point() else torch.iinfo(values.dtype).max
    return values.masked_fill(
        beyond.reshape(*beyond.shape, *(1 for _ in values.shape[2:])), filling
    )
