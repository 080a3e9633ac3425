"""What a system-identification task is: records cut into sequences, scored in physical units."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import mse_loss

from ssmbench.errors import require
from ssmbench.options import COUNT, POSITIVE_COUNT, option
from ssmbench.spec import Channels, TaskSizes
from ssmbench.tasks.base import Task
from ssmbench.tasks.baselines import LinearFilter, Predictor, always
from ssmbench.tasks.batch import Batch
from ssmbench.tasks.metrics import fit_in_percent
from ssmbench.tasks.normalisation import Normalisation
from ssmbench.tasks.sequences import Sequences, Splits
from ssmbench.tasks.sysid.record import Description, Experiments, Record
from ssmbench.tasks.sysid.windows import RecordWindows, with_initial_outputs

if TYPE_CHECKING:  # slow: imported where metrics are made
    from torchmetrics import MetricCollection

#: Steps at a time from which the linear filter is fitted.
_FILTER_PART = 4096


@dataclass
class RecordConfig:
    """How the estimation record is cut into training and validation sequences; lengths in samples.

    A task with options of its own derives its config from this one.
    """

    #: Length of a training sequence.
    window: int = 256
    #: From the start of one training sequence to that of the next.
    stride: int = 4
    #: Steps at the start of a training sequence that are not scored: its initial state is unknown.
    washout: int = 32
    #: The last samples of the estimation record, which are held out.
    validation: int = 256
    #: Train on the held-out samples too; validation then chooses among weights that have seen them.
    refit: bool = False
    #: Standard deviation of white noise on the training inputs, relative to that of the inputs.
    input_noise: float = 0.0
    #: Steps at the start of a test record that are not scored: the model runs through them from
    #: state zero.
    test_washout: int = option(0, COUNT, added=2)
    #: Steps at the start of every sequence in which the measured outputs are given to the model as
    #: further inputs, from which it can estimate the state; they are not scored. 0: none are given.
    initial_outputs: int = option(0, COUNT, added=2)
    #: Samples before the held-out ones that validation starts with; null for all of the record.
    validation_washout: int | None = option(None, COUNT, added=2)
    #: Length of the linear filter among the baselines; null: 200, or half a window if less.
    fir_taps: int | None = option(None, POSITIVE_COUNT, added=2)


class SystemIdentification(Task):
    """u (B, L, m) float32 and target (B, S, p) float32, the outputs at the *last* S <= L steps.

    All signals are normalised by the part of the estimation record that is trained on. The steps
    before the last S are washout: the model runs through them, and they are not scored. Training:
    windows of the estimation record. Validation: the estimation record, of which the held-out end
    is scored. Test: the whole test record from an unknown initial state, all of it scored, unless
    the benchmark (:attr:`Record.scored_from`) or the option ``test_washout`` says otherwise. Of
    several estimation records, each is cut so.

    A model starts from state zero. With ``initial_outputs`` it is given the measured outputs of
    the first steps as well (:func:`~ssmbench.tasks.sysid.windows.with_initial_outputs`), and can
    estimate the state from them as an encoder of the past does (G. Beintema, R. Toth, M. Schoukens,
    Nonlinear state-space identification using deep encoder networks, L4DC 2021); here the network
    itself is this encoder, so that every variant has it.

    A derived class sets :attr:`description` and :attr:`origin`, and defines :meth:`experiments`.
    """

    score = "rmse"
    higher_is_better = False
    fixed_length_reason = "its test record is a measurement, of which there is no more"

    config: RecordConfig
    description: Description
    #: Where the records come from, as a phrase.
    origin: str
    _inputs: Normalisation
    _outputs: Normalisation
    _trained: tuple[tuple[Tensor, Tensor], ...]

    @abstractmethod
    def experiments(self) -> Experiments:
        """Read or make the records.

        Raises:
            UsageError: they cannot be found or used.
        """

    @property
    def source(self) -> str:
        """Where the data come from, which part of a test is not scored, and which outputs are
        given."""
        given = self.config.initial_outputs
        first = max(self.config.test_washout, given)
        scored = f", scored from sample {first}" if first else ""
        known = f", given the measured outputs of the first {given} samples" if given else ""
        return self.origin + scored + known

    @property
    def unit(self) -> str:
        """The unit of the outputs and of the score."""
        return self.description.unit

    @property
    def sizes(self) -> TaskSizes:
        """A channel for each signal that is given; the length is that of a training window."""
        inputs, outputs = len(self.description.inputs), len(self.description.outputs)
        given = outputs + 1 if self.config.initial_outputs else 0
        return TaskSizes(Channels(inputs + given), outputs, self.config.window, per_step=True)

    def check(self) -> None:
        """Refuse lengths that do not fit the record, where its length is known.

        Raises:
            UsageError: they do not fit.
        """
        samples = self.description.samples
        if samples is not None:
            check_lengths(self.description.name, self.config, samples)

    def load(self) -> Splits:
        """All records, cut and normalised.

        Raises:
            UsageError: the records cannot be used, or lengths do not fit a record.
        """
        records = self.experiments()
        for record in records.estimations:
            check_lengths(self.description.name, self.config, len(record))
        self._normalise_by([r.part(0, self._held_out_from(r)) for r in records.estimations])
        scaled = [self._scaled(record) for record in records.estimations]
        ends = [self._held_out_from(record) for record in records.estimations]
        self._trained = tuple((u[:end], y[:end]) for (u, y), end in zip(scaled, ends, strict=True))
        return Splits(
            train=self._training_windows(),
            val=self._validation(scaled),
            test=self.tested("the test record", records.test),
            further={name: self.tested(name, one) for name, one in records.further.items()},
        )

    def _held_out_from(self, record: Record) -> int:
        """The number of a record's samples that are trained on."""
        return len(record) - (0 if self.config.refit else self.config.validation)

    def _normalise_by(self, trained: Sequence[Record]) -> None:
        about = self.description
        u, y = (_joined([getattr(r, signals) for r in trained]) for signals in "uy")
        inputs, outputs = ([one.name for one in part] for part in (about.inputs, about.outputs))
        self._inputs = Normalisation.of(u, inputs, about.name)
        self._outputs = Normalisation.of(y, outputs, about.name)

    def _scaled(self, record: Record) -> tuple[Float[Tensor, "L m"], Float[Tensor, "L p"]]:
        return self._inputs.apply(record.u), self._outputs.apply(record.y)

    def tested(self, name: str, record: Record) -> Sequences:
        """A test record as one sequence; ``name``: what it is, for messages. After
        :meth:`load`."""
        config = self.config
        first = max(record.scored_from, config.test_washout, config.initial_outputs)
        require(
            first < len(record),
            f"{self.description.name}: test_washout {config.test_washout} leaves nothing of "
            f"the {len(record)} samples of {name}",
        )
        u, y = self._scaled(record)
        given = with_initial_outputs(u, y, config.initial_outputs)
        return Sequences(given[None], y[None, first:])

    def _training_windows(self) -> RecordWindows:
        config = self.config
        return RecordWindows(
            self._trained,
            window=config.window,
            stride=config.stride,
            washout=config.washout,
            initial_outputs=config.initial_outputs,
        )

    def _validation(self, scaled: Sequence[tuple[Tensor, Tensor]]) -> Sequences:
        """The ends of all records, of equal length: at most as long as the shortest record."""
        held_out, before = self.config.validation, self.config.validation_washout
        length = min(len(u) for u, _ in scaled)
        if before is not None:
            length = min(length, held_out + before)
        given = self.config.initial_outputs
        scored = min(held_out, length - given)
        u = torch.stack([with_initial_outputs(u[-length:], y[-length:], given) for u, y in scaled])
        return Sequences(u, torch.stack([y[-scored:] for _, y in scaled]))

    def augment(self, batch: Batch) -> Batch:
        """The inputs with white noise, against overfitting to a short record."""
        noise = self.config.input_noise
        if not noise:
            return batch
        inputs, given = self._inputs_of(batch.u), batch.u[..., len(self.description.inputs) :]
        noisy = inputs + noise * torch.randn_like(inputs)
        return batch._replace(u=torch.cat([noisy, given], dim=-1))

    def _inputs_of(self, u: Float[Tensor, "B L channels"]) -> Float[Tensor, "B L m"]:
        """Without the outputs that are given."""
        return u[..., : len(self.description.inputs)]

    def loss(
        self, prediction: Float[Tensor, "n p"], target: Float[Tensor, "n p"]
    ) -> Float[Tensor, ""]:
        """Mean squared error of the scored steps, in normalised units."""
        return mse_loss(prediction, target)

    def metrics(self) -> MetricCollection:
        """The root mean square error over all scored steps and outputs, and the fit in percent
        (:class:`~ssmbench.tasks.metrics.fit.Fit`)."""
        from torchmetrics import MeanSquaredError, MetricCollection

        fit = fit_in_percent(len(self.description.outputs))
        return MetricCollection({"rmse": MeanSquaredError(squared=False), "fit": fit})

    def baselines(self) -> Mapping[str, Predictor]:
        """The mean of the samples trained on, and the best linear filter of their inputs."""
        outputs = len(self.description.outputs)
        taps = self.config.fir_taps or max(min(200, self.config.window // 2), 1)
        parts = (part for record in self._trained for part in self._parts(*record, taps))
        linear = LinearFilter(parts, taps)
        return {
            "mean": always(torch.zeros(outputs), per_step=True),
            f"linear FIR of {taps} taps": lambda batch: linear(
                batch._replace(u=self._inputs_of(batch.u))
            ),
        }

    def _parts(self, u: Tensor, y: Tensor, taps: int) -> Iterator[Batch]:
        """A record in parts with the inputs before them, so that a filter's regressors fit in
        memory."""
        first = self.config.washout
        while first < len(u):
            end = first + _FILTER_PART
            yield Batch(u[None, max(first - taps + 1, 0) : end], y[None, first:end])
            first = end

    def to_metric(
        self, prediction: Float[Tensor, "n p"], target: Float[Tensor, "n p"]
    ) -> tuple[Float[Tensor, " values"], Float[Tensor, " values"]]:
        """The outputs at the scored steps of all sequences, in physical units."""
        self.setup()
        return self._outputs.invert(prediction).flatten(), self._outputs.invert(target).flatten()

    def output_scales(self) -> Float[Tensor, " p"]:
        """The deviations of the outputs, which normalised ones are multiplied by."""
        self.setup()
        return torch.as_tensor(self._outputs.deviation)


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    """As one array; a single one as it is."""
    return parts[0] if len(parts) == 1 else np.concatenate(parts)


def check_lengths(name: str, config: RecordConfig, samples: int) -> None:
    """Raise a UsageError unless an estimation record of ``samples`` can be cut as ``config`` says.

    ``name``: of the task, for the message.
    """
    longest = samples - (0 if config.refit else config.validation)
    rules = {
        f"validation must be in 1..{samples - 1}": 1 <= config.validation < samples,
        f"window must be in 1..{longest}, the samples trained on": 1 <= config.window <= longest,
        "washout must be in 0..window - 1": 0 <= config.washout < config.window,
        "initial_outputs must be at most washout": config.initial_outputs <= config.washout,
        "stride must be at least 1": config.stride >= 1,
        "input_noise must be finite and not negative": 0 <= config.input_noise < math.inf,
    }
    for rule, kept in rules.items():
        require(kept, f"{name}: {rule} ({config})")
