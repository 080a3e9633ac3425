"""Irregular sampling: samples dropped at random, and the time to the next kept one as time step."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float, Int, Int64, Shaped
from torch import Tensor

from ssmbench.lengths import mask_steps, valid_steps
from ssmbench.tasks.batch import Batch
from ssmbench.tasks.sequences import SequenceData


def drop_samples(
    batch: Batch, share: float, random: Float[Tensor, "B L"], *, per_step: bool = False
) -> Batch:
    """The batch without a share of each sequence's samples, with the time steps that remain.

    Of n samples ``share`` n, rounded, are dropped: those with the largest numbers in ``random``,
    which are uniform on [0, 1). The first sample is kept, and so is at least one that is scored.
    The time step of a kept sample reaches to the next kept one, or to the end of the sequence, so
    that a sequence's time steps still sum to its duration.

    ``per_step``: targets are those of the last S steps. The samples before these S and among them
    are then dropped apart, and the targets of the kept ones stay.

    With a share of 0 the batch is returned as it is.
    """
    if share == 0:
        return batch
    total = batch.u.shape[1]
    unscored = total - batch.target.shape[1] if per_step else 0
    lengths = batch.lengths
    if lengths is None:
        lengths = torch.full((batch.size,), total, device=batch.u.device)
    kept = _kept(lengths, share, random.to(batch.u.device), unscored)
    places, left = _places(kept)
    valid = valid_steps(left, places.shape[1])
    target = batch.target
    if per_step:
        before = int(kept[:, :unscored].sum(1).max()) if unscored else 0
        scored = (places[:, before:] - unscored).clamp_min(0)
        target = mask_steps(_taken(target, scored), valid[:, before:])
    return Batch(
        u=mask_steps(_taken(batch.u, places), valid),
        target=target,
        lengths=None if batch.lengths is None else left,
        dt=_time_steps(batch.dt, lengths, places, valid),
    )


def kept_of(samples: Int[Tensor, "*n"], share: float) -> Int64[Tensor, "*n"]:
    """How many of so many samples are kept: at least one, where there are any."""
    kept = samples - torch.floor(share * samples.double() + 0.5).long()
    return torch.maximum(kept, (samples > 0).long())


def _kept(
    lengths: Int[Tensor, " B"], share: float, random: Float[Tensor, "B L"], unscored: int
) -> Bool[Tensor, "B L"]:
    """Which samples stay: the first one, and of each part those with the smallest numbers."""
    number = random.double()
    number[:, 0] = -1.0
    valid = valid_steps(lengths, number.shape[1])
    late = torch.arange(number.shape[1], device=number.device) >= unscored
    kept = torch.zeros_like(valid)
    for part in (valid & ~late, valid & late):
        rank = number.masked_fill(~part, torch.inf).argsort(1).argsort(1)
        kept |= part & (rank < kept_of(part.sum(1), share)[:, None])
    return kept


def _places(kept: Bool[Tensor, "B L"]) -> tuple[Int64[Tensor, "B K"], Int64[Tensor, " B"]]:
    """The kept steps of each sequence in order, filled up with others, and their number."""
    left = kept.sum(1)
    return (~kept).to(torch.uint8).argsort(dim=1, stable=True)[:, : int(left.max())], left


def _taken(
    values: Shaped[Tensor, "B L ..."], places: Int64[Tensor, "B K"]
) -> Shaped[Tensor, "B K ..."]:
    return values[torch.arange(len(values), device=values.device)[:, None], places]


def _time_steps(
    dt: Float[Tensor, "B L"] | None,
    lengths: Int[Tensor, " B"],
    places: Int64[Tensor, "B K"],
    valid: Bool[Tensor, "B K"],
) -> Float[Tensor, "B K"]:
    """From each kept sample to the next kept one, or to the end; 1 in the padding."""
    if dt is None:
        times, ends = places.double(), lengths.double()
    else:  # summed in float64: a long sequence would lose digits
        inside = mask_steps(dt.double(), valid_steps(lengths, dt.shape[1]))
        edges = torch.nn.functional.pad(inside.cumsum(1), (1, 0))
        times, ends = edges.gather(1, places), edges[:, -1]
    times = torch.where(valid, times, ends[:, None])
    following = torch.cat([times[:, 1:], ends[:, None]], 1)
    return torch.where(valid, following - times, 1.0).to(torch.float32 if dt is None else dt.dtype)


class Thinned(SequenceData):
    """Sequences without a share of their samples: for each sequence the same ones in every call,
    by ``seed`` and its index."""

    def __init__(self, data: SequenceData, share: float, seed: int, *, per_step: bool):
        self.data, self.share, self.seed, self.per_step = data, share, seed, per_step

    def __len__(self) -> int:
        return len(self.data)

    @property
    def lengths(self) -> Int[np.ndarray, " n"] | None:
        """Samples that are left of each sequence."""
        lengths = self.data.lengths
        return None if lengths is None else kept_of(torch.as_tensor(lengths), self.share).numpy()

    def batch(self, indices: Sequence[int]) -> Batch:
        """The batch of the others, thinned."""
        batch = self.data.batch(indices)
        length = batch.u.shape[1]  # numbers come one by one: padding does not change them
        rows = [np.random.default_rng((self.seed, int(k))).random(length) for k in indices]
        return drop_samples(
            batch, self.share, torch.from_numpy(np.stack(rows)), per_step=self.per_step
        )
