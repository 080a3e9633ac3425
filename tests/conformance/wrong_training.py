"""Wrong optimizers, augmentations, callbacks, launchers and importers."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import lightning.pytorch as pl
import numpy as np
import torch

from ssmbench.augmentations.base import Augmentation
from ssmbench.errors import UsageError
from ssmbench.launchers.base import Launcher
from ssmbench.optimizers.base import OptimizerConfig
from tests.conformance.wrong import Wrong, example, no_module

LeakyAverage = example("importer").factory

# --- optimizers ---------------------------------------------------------------------------------


def first_group_only(config, *, groups):
    return torch.optim.SGD(groups[:1])


def descent(config, *, groups):
    return torch.optim.SGD(groups)


def ascent(config, *, groups):
    return torch.optim.SGD(groups, maximize=True)


@dataclass
class OwnConfig:
    lr: float = 0.01
    ssm_lr: float = 0.01
    weight_decay: float = 0.0


class FixedStep(torch.optim.SGD):
    """Steps of 0.01 times the gradient, whatever the learning rate is."""

    def __init__(self, config, *, groups):
        super().__init__(groups)

    @torch.no_grad()
    def step(self, closure):
        with torch.enable_grad():
            loss = closure()
        for group in self.param_groups:
            for parameter in group["params"]:
                parameter -= 0.01 * parameter.grad
        return loss


class MomentumInAnAttribute(FixedStep):
    """What it must know after an interruption is no part of its state."""

    def __init__(self, config, *, groups):
        super().__init__(config, groups=groups)
        self.momentum = {}

    @torch.no_grad()
    def step(self, closure):
        with torch.enable_grad():
            loss = closure()
        for group in self.param_groups:
            for p in group["params"]:
                self.momentum[id(p)] = 0.9 * self.momentum.get(id(p), 0) + p.grad
                p -= group["lr"] * self.momentum[id(p)]
        return loss


def optimizer(check, factory, says, config=OptimizerConfig):
    return Wrong("optimizer", check, factory, says, config=config)


OPTIMIZERS = (
    optimizer("builds", first_group_only, "trains 1 of the 3 parameters"),
    optimizer(
        "config_has_the_options_of_every_run", descent, "must derive from Opt", config=OwnConfig
    ),
    optimizer("reduces_a_quadratic_loss", ascent, "does not reduce a quadratic loss"),
    optimizer("follows_the_learning_rate", FixedStep, "it ignores the schedule"),
    optimizer("resumes_from_its_state_dict", MomentumInAnAttribute, "without an interruption"),
)


# --- augmentations ------------------------------------------------------------------------------


class Overflows(Augmentation):
    def __call__(self, signals):
        return signals._replace(u=torch.full_like(signals.u, torch.inf))


class ClampsInPlace(Augmentation):
    def __call__(self, signals):
        signals.u.clamp_(-0.1, 0.1)
        return signals


class DrawsFromNumPy(Augmentation):
    """Where nothing is padded, so that this is not found as an influence of padding."""

    def __call__(self, signals):
        drawn = np.random.default_rng().standard_normal()
        return signals._replace(u=signals.u + drawn) if signals.lengths is None else signals


class CentredWithPadding(Augmentation):
    def __call__(self, signals):
        return signals._replace(u=signals.u - signals.u.mean(1, keepdim=True))


def augmentation(check, factory, says):
    return Wrong("augmentation", check, factory, says)


AUGMENTATIONS = (
    augmentation("builds", no_module, "an augmentation must derive from"),
    augmentation("keeps_the_form", Overflows, "u is not finite"),
    augmentation("leaves_its_argument", ClampsInPlace, "modifies the signals that it is given"),
    augmentation("follows_the_global_generator", DrawsFromNumPy, "more than torch's global"),
    augmentation("padding_has_no_influence", CentredWithPadding, "padding changes valid steps"),
)


# --- callbacks ----------------------------------------------------------------------------------


class LosesTheWeights(pl.Callback):
    def __init__(self, config, *, task):
        super().__init__()

    @torch.no_grad()
    def on_train_end(self, trainer, pl_module):
        next(pl_module.parameters()).fill_(torch.nan)


class ForgetsItsCount(pl.Callback):
    """Its state is stored, and never read back."""

    def __init__(self, config, *, task):
        super().__init__()
        self.steps = 0

    def on_train_batch_end(self, *arguments):
        self.steps += 1

    def state_dict(self):
        return {"steps": self.steps}


def callback(check, factory, says):
    return Wrong("callback", check, factory, says)


CALLBACKS = (
    callback("builds", no_module, "a callback must derive from"),
    callback("a_training_ends", LosesTheWeights, "a parameter is not finite"),
    callback("its_state_can_be_stored", ForgetsItsCount, "a resumed run would differ"),
)


# --- launchers ----------------------------------------------------------------------------------


def refuses(config):
    raise UsageError("not here")


class OnlySaysSo(Launcher):
    """Calls runs finished that it has not executed."""

    def launch(self, runs, jobs=None):
        for run in runs:
            yield run, "finished"


LAUNCHERS = (
    Wrong("launcher", "builds", refuses, "not here"),
    Wrong(
        "launcher",
        "yields_each_run_once_with_its_state",
        OnlySaysSo,
        "yields the state finished for a run whose folder says",
    ),
)


# --- importers ----------------------------------------------------------------------------------


class LeavesAKey(LeakyAverage):
    @classmethod
    def example(cls):
        return {**super().example(), "spare": np.zeros(3)}


class LosesAParameter(LeakyAverage):
    def read(self, weights):
        found = super().read(weights)
        state = {key: value for key, value in found.state.items() if key != "encoder.bias"}
        return dataclasses.replace(found, state=state)


class MarkOfAnother(LeakyAverage):
    mark = "frequencies"


class TakesEverything(LeakyAverage):
    def read(self, weights):
        weights.leave_out(".*")
        return super().read(weights)


class Lenient:
    """Weights of which the first part is taken where there is a dimension more."""

    def __init__(self, weights):
        self.weights, self.sizes = weights, {}

    def take(self, name, *shape):
        array = self.weights.take(name, *self.weights.shape(name))
        array = array[0] if array.ndim > len(shape) else array
        self.sizes |= dict(zip(shape, array.shape, strict=True))
        return array

    def size(self, letter):
        return self.sizes[letter]


class TakesAnyShape(LeakyAverage):
    def read(self, weights):
        return super().read(Lenient(weights))


def importer(check, factory, says, **more):
    return Wrong("importer", check, factory, says, **more)


IMPORTERS = (
    importer("builds", refuses, "not here"),
    importer(
        "understands_its_example",
        LeavesAKey,
        "does not understand 1 of 4 keys: 'spare'",
        also=("network_takes_every_parameter",),
    ),
    importer("network_takes_every_parameter", LosesAParameter, "encoder.bias"),
    importer("mark_is_that_of_its_example", MarkOfAnother, "matches mark 'frequencies'"),
    importer("an_unknown_key_is_named", TakesEverything, "a checkpoint with the key"),
    importer("a_wrong_shape_is_named", TakesAnyShape, "in a wrong shape is accepted"),
)

WRONG = (*OPTIMIZERS, *AUGMENTATIONS, *CALLBACKS, *LAUNCHERS, *IMPORTERS)
