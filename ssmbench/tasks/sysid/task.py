"""What a system-identification task is: records cut into sequences, scored in physical units."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import mse_loss
from torchmetrics import MeanSquaredError, MetricCollection

from ssmbench.errors import require
from ssmbench.spec import Channels, TaskSizes
from ssmbench.tasks.base import Task
from ssmbench.tasks.batch import Batch
from ssmbench.tasks.sequences import Sequences, Splits
from ssmbench.tasks.sysid.record import Description, Experiments, Normalisation


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


class SystemIdentification(Task):
    """u (B, L, m) float32 and target (B, S, p) float32, the outputs at the *last* S <= L steps.

    All signals are normalised by the part of the estimation record that is trained on. The steps
    before the last S are washout: the model runs through them, and they are not scored. Training:
    windows of the estimation record. Validation: the whole estimation record, of which the held-out
    end is scored. Test: the whole test record from an unknown initial state, all of it scored.

    A derived class sets :attr:`description` and defines :meth:`experiments`.
    """

    score = "rmse"
    higher_is_better = False

    config: RecordConfig
    description: Description
    _outputs: Normalisation

    @abstractmethod
    def experiments(self) -> Experiments:
        """Read or make the records.

        Raises:
            UsageError: they cannot be found or used.
        """

    @property
    def unit(self) -> str:
        """The unit of the outputs and of the score."""
        return self.description.unit

    @property
    def sizes(self) -> TaskSizes:
        """A channel for each signal; the length is that of a training window."""
        inputs, outputs = len(self.description.inputs), len(self.description.outputs)
        return TaskSizes(Channels(inputs), outputs, length=self.config.window, per_step=True)

    def check(self) -> None:
        """Refuse lengths that do not fit the record, where its length is known.

        Raises:
            UsageError: they do not fit.
        """
        samples = self.description.samples
        if samples is not None:
            check_lengths(self.description.name, self.config, samples)

    def load(self) -> Splits:
        """Both records, cut and normalised.

        Raises:
            UsageError: the records cannot be used, or lengths do not fit the estimation record.
        """
        about, config, records = self.description, self.config, self.experiments()
        estimation, test, samples = records.estimation, records.test, len(records.estimation)
        check_lengths(about.name, config, samples)
        held_out = samples - config.validation
        trained = samples if config.refit else held_out
        inputs = Normalisation.of(estimation.u[:trained], about.inputs, about.name)
        outputs = Normalisation.of(estimation.y[:trained], about.outputs, about.name)
        u, y = inputs.apply(estimation.u), outputs.apply(estimation.y)
        steps = windows(trained, config.window, config.stride)
        self._outputs = outputs
        return Splits(
            train=Sequences(u[steps], y[steps[:, config.washout :]]),
            val=Sequences(u[None], y[None, held_out:]),
            test=Sequences(inputs.apply(test.u)[None], outputs.apply(test.y)[None]),
        )

    def augment(self, batch: Batch) -> Batch:
        """The inputs with white noise, against overfitting to a short record."""
        noise = self.config.input_noise
        return batch._replace(u=batch.u + noise * torch.randn_like(batch.u)) if noise else batch

    def loss(
        self, prediction: Float[Tensor, "n p"], target: Float[Tensor, "n p"]
    ) -> Float[Tensor, ""]:
        """Mean squared error of the scored steps, in normalised units."""
        return mse_loss(prediction, target)

    def metrics(self) -> MetricCollection:
        """The root mean square error over all scored steps and outputs."""
        return MetricCollection({"rmse": MeanSquaredError(squared=False)})

    def to_metric(
        self, prediction: Float[Tensor, "n p"], target: Float[Tensor, "n p"]
    ) -> tuple[Float[Tensor, " values"], Float[Tensor, " values"]]:
        """The outputs at the scored steps of all sequences, in physical units."""
        self.setup()
        return self._outputs.invert(prediction).flatten(), self._outputs.invert(target).flatten()


def windows(samples: int, window: int, stride: int) -> Int64[Tensor, "n window"]:
    """The samples of each window of a record: 0 to window - 1, and so on in steps of ``stride``."""
    starts = range(0, samples - window + 1, stride)
    return torch.tensor(starts)[:, None] + torch.arange(window)


def check_lengths(name: str, config: RecordConfig, samples: int) -> None:
    """Raise a UsageError unless an estimation record of ``samples`` can be cut as ``config`` says.

    ``name``: of the task, for the message.
    """
    longest = samples - (0 if config.refit else config.validation)
    rules = {
        f"validation must be in 1..{samples - 1}": 1 <= config.validation < samples,
        f"window must be in 1..{longest}, the samples trained on": 1 <= config.window <= longest,
        "washout must be in 0..window - 1": 0 <= config.washout < config.window,
        "stride must be at least 1": config.stride >= 1,
        "input_noise must be finite and not negative": 0 <= config.input_noise < math.inf,
    }
    for rule, kept in rules.items():
        require(kept, f"{name}: {rule} ({config})")
