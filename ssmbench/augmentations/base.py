"""What an augmentation is: a random change of the signals of a training batch.

Built as ``factory(config, sizes=...)`` and called once for every training batch, on its device.
Random numbers come from torch's global generator, which the trainer seeds for every batch by the
run's seed, so that a resumed run sees what an uninterrupted one would.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any, ClassVar, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from ssmbench.errors import require
from ssmbench.lengths import valid_steps
from ssmbench.origins import describe_type, plugin_error, plugin_require
from ssmbench.spec import Channels, TaskSizes


class Signals(NamedTuple):
    """The signals of a batch.

    ``u``: (B, L, channels) float32. ``lengths``: (B,) int64, valid steps of each sequence, whose
    padding is at the end; None if all are L. ``dt``: (B, L) float32, the time from each sample to
    the next in units of the network's own step size; None if it is 1 everywhere.
    """

    u: Float[Tensor, "B L c"]
    lengths: Int64[Tensor, " B"] | None = None
    dt: Float[Tensor, "B L"] | None = None

    @property
    def ends(self) -> Int64[Tensor, "B 1"]:
        """The number of valid steps of each sequence."""
        if self.lengths is not None:
            return self.lengths[:, None]
        batch, steps = self.u.shape[:2]
        return torch.full((batch, 1), steps, device=self.u.device)

    @property
    def steps(self) -> Int64[Tensor, " L"]:
        """0, 1, ..., L - 1."""
        return torch.arange(self.u.shape[1], device=self.u.device)

    @property
    def valid(self) -> Bool[Tensor, "B L"]:
        """True at the steps that belong to each sequence."""
        return valid_steps(self.ends[:, 0], self.u.shape[1])


class Augmentation(ABC):
    """A random change of signals that keeps their targets right.

    It changes a whole batch at once, each sequence by random numbers of its own. A new kind of
    change needs :meth:`__call__` and, if its config class has options, nothing else.

    Raises:
        UsageError: the task's inputs are not channels, or no images where ``needs_image``.
    """

    #: Whether it keeps targets right that are numbers, or that belong to single steps. The others
    #: keep the class of a whole sequence only.
    keeps_values: ClassVar[bool] = False
    #: Whether it changes images, so that :attr:`TaskSizes.image` is given.
    needs_image: ClassVar[bool] = False

    def __init__(self, config: Any, *, sizes: TaskSizes):
        require(
            isinstance(sizes.input, Channels),
            f"it changes real numbers, but this task's inputs are {sizes.input}",
        )
        require(
            not self.needs_image or sizes.image is not None,
            "it changes images, but the steps of this task are not an image's pixels row by row",
        )
        self.config = config
        self.sizes = sizes

    @abstractmethod
    def __call__(self, signals: Signals) -> Signals:
        """The changed signals: new tensors of the shapes and dtypes of the given ones, which stay
        as they are. Lengths may change; they stay in 1..L."""

    @classmethod
    def describe(cls) -> dict[str, Any]:
        """The class's facts as plain values."""
        return {"keeps_values": cls.keeps_values, "needs_image": cls.needs_image}


def augmented(augmentation: Augmentation, signals: Signals) -> Signals:
    """The signals that an augmentation makes, checked.

    Raises:
        PluginError: they do not have the shapes and dtypes of the given ones.
    """
    made, call = augmentation(signals), type(augmentation).__call__
    if not isinstance(made, Signals):
        raise plugin_error(call, f"returns {describe_type(made)}, not Signals")
    for name, old, new in zip(Signals._fields, signals, made, strict=True):
        same = _form(old) == _form(new)
        plugin_require(same, call, f"returns {name} {_form(new)}; it must be {_form(old)}")
    return made


def _form(values: Any) -> tuple[Any, ...] | None:
    return (tuple(values.shape), values.dtype) if isinstance(values, Tensor) else None


def taken(
    signals: Signals, places: Int64[Tensor, "B L"], kept: Bool[Tensor, "B L"] | None = None
) -> Signals:
    """The signals whose step k is step ``places[:, k]`` of the given ones, 0 where not ``kept``."""
    u = signals.u.gather(1, places[..., None].expand_as(signals.u))
    if kept is not None:
        u = torch.where(kept[..., None], u, torch.zeros_like(u))
    dt = None if signals.dt is None else signals.dt.gather(1, places)
    return signals._replace(u=u, dt=dt)
