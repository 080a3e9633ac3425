"""Gains of layers during training: figures that are cheap to compute, and their callback."""

from __future__ import annotations

import math

import lightning.pytorch as pl
import torch
from jaxtyping import Shaped
from lightning.pytorch.utilities import rank_zero_only
from torch import Tensor

from ssmbench.analysis.gain import stability
from ssmbench.analysis.hinf import hinf_norm
from ssmbench.nn.bounds import is_finite
from ssmbench.nn.layer import SSMLayer
from ssmbench.nn.model import SequenceModel
from ssmbench.training.layer_analysis import (
    FROZEN_SEQUENCES,
    declared_gain,
    frozen_report,
    layer_inputs,
)
from ssmbench.training.module import SequenceModule
from ssmbench.training.out_of_memory import MONITORING


class GainMonitor(pl.Callback):
    """Logs each layer's spectral radius, margin and verified gain every n epochs."""

    def __init__(self, every_n_epochs: int):
        self._every = every_n_epochs

    @rank_zero_only
    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: SequenceModule) -> None:
        if self._every < 1 or trainer.current_epoch % self._every:
            return
        pl_module.doing = MONITORING
        model, seen = pl_module.model, {}
        if any(layer.time_varying for layer in model.layers):
            batch = pl_module.task.sample("val", FROZEN_SEQUENCES)
            seen = {"inputs": batch.u, "lengths": batch.lengths}
        figures = gain_figures(model, **seen)
        for logger in trainer.loggers:
            logger.log_metrics(figures, step=trainer.global_step)


def layer_figures(layer: SSMLayer, u: Tensor | None = None) -> dict[str, float]:
    """Spectral radius, margin and verified gain of a layer, which are cheap to compute.

    A time-varying layer has its frozen gain, on the input u (B, L, d_model), in place of the
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
    task, are needed for time-varying layers only.
    """
    figures: dict[str, float] = {}
    seen = layer_inputs(model, inputs, lengths)
    for index, (layer, u) in enumerate(zip(model.layers, seen, strict=True)):
        figures |= {f"layer{index}/{k}": v for k, v in layer_figures(layer, u).items()}
        declared = declared_gain(layer)
        if declared is not None:
            figures[f"layer{index}/declared_gain"] = declared
    return figures
