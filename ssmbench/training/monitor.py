"""Gains of layers during training: figures that are cheap to compute, and their callback."""

from __future__ import annotations

import math
from collections.abc import Mapping

import lightning.pytorch as pl
import torch
from jaxtyping import Shaped
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from ssmbench.analysis.certificate import Bound
from ssmbench.analysis.gain import stability
from ssmbench.analysis.hinf import hinf_norm
from ssmbench.nn.bounds import is_finite
from ssmbench.nn.layer import SSMLayer
from ssmbench.nn.model import SequenceModel
from ssmbench.spec import Reading
from ssmbench.tasks.batch import Batch
from ssmbench.training.hankel import hankel_figures
from ssmbench.training.layer_analysis import (
    FROZEN_SEQUENCES,
    LayerInput,
    declared_gain,
    frozen_report,
    layer_inputs,
)
from ssmbench.training.module import SequenceModule
from ssmbench.training.out_of_memory import MONITORING


class GainMonitor(pl.Callback):
    """Logs each layer's spectral radius, margin, verified gain and Hankel singular values every n
    epochs, and what the gains compose to: the network's bound."""

    def __init__(self, every_n_epochs: int):
        self._every = every_n_epochs
        self._batch: Batch | None = None

    @rank_zero_only
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: SequenceModule) -> None:
        if self._every < 1 or trainer.current_epoch % self._every:
            return
        pl_module.doing = MONITORING
        if self._batch is None:
            self._batch = pl_module.task.sample("val", FROZEN_SEQUENCES)
        figures = gain_figures(pl_module.model, self._batch.u, self._batch.lengths)
        for logger in trainer.loggers:
            logger.log_metrics(figures, step=trainer.global_step)


def layer_figures(layer: SSMLayer, u: LayerInput | None = None) -> dict[str, float]:
    """Spectral radius, margin and verified gain of a layer, which are cheap to compute.

    A time-varying layer has its frozen gain, on its input u, in place of the
    verified one; it has no figures if u is None.
    """
    gain = "frozen_gain" if layer.time_varying else "verified_gain"
    if not is_finite(layer):
        return {"spectral_radius": math.inf, "margin": -math.inf, gain: math.inf}
    if layer.time_varying:
        if u is None:
            return {}
        report = frozen_report(layer, u)
        extent = {"spectral_radius": report.spectral_radius, "margin": report.margin}
        return extent | {gain: report.gain}
    with torch.no_grad():
        system = layer.system().to("cpu").double()
        poles = stability(system)
        return {
            "spectral_radius": poles["spectral_radius"],
            "margin": poles["margin"],
            "verified_gain": float(hinf_norm(system).norm.max()),
        }


def gain_figures(
    model: SequenceModel,
    inputs: Shaped[Tensor, "n ..."] | None = None,
    lengths: Shaped[Tensor, ...] | None = None,
) -> dict[str, float]:
    """The figures logged in training: those of every layer, and its declared gain if it has one.

    The keys are ``layer0/verified_gain`` and so on. ``inputs`` and ``lengths``, of a batch of the
    task, are needed for time-varying layers and for ``network/bound``: the network's bound if the
    layers' gains are as computed, which nothing proves here. It is left out where there is none.
    """
    figures: dict[str, float] = {}
    seen = layer_inputs(model, inputs, lengths)
    for index, (layer, u) in enumerate(zip(model.layers, seen, strict=True)):
        figures |= {f"layer{index}/{k}": v for k, v in layer_figures(layer, u).items()}
        figures |= {f"layer{index}/{k}": v for k, v in hankel_figures(layer).items()}
        declared = declared_gain(layer)
        if declared is not None:
            figures[f"layer{index}/declared_gain"] = declared
    if inputs is not None and is_finite(model):
        bound = _network_bound(model, figures, inputs)
        figures |= {"network/bound": bound.value} if bound.finite else {}
    return figures


def _network_bound(
    model: SequenceModel, figures: Mapping[str, float], inputs: Shaped[Tensor, "n ..."]
) -> Bound:
    verified = [figures.get(f"layer{i}/verified_gain") for i in range(len(model.layers))]
    steps = inputs.shape[2 if model.decoder.reads is Reading.pair else 1]
    with torch.no_grad():
        return model.bound(verified, steps)
