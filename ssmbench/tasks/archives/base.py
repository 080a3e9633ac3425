"""What archives share: series with class labels, standardised."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float32, Int64

from ssmbench.tasks.normalisation import Normalisation
from ssmbench.tasks.sequences import PaddedSequences, SequenceData

#: How former options of archives are written now.
MOVED = {
    "noise": "augment: [{name: noise, deviation: ...}]",
    "shift": "augment: [{name: shift, most: ...}]",
    "amplitude": "augment: [{name: amplitude, most: ...}]",
}


def standardised(
    series: list[Float32[np.ndarray, "_ c"]], training: list[Float32[np.ndarray, "_ c"]]
) -> list[Float32[np.ndarray, "_ c"]]:
    """Each channel with the training series' mean and deviation made 0 and 1."""
    scale = Normalisation.of_any(np.concatenate(training))
    return [scale.scaled(one) for one in series]


def labelled(
    series: list[Float32[np.ndarray, "_ c"]], labels: Int64[np.ndarray, " n"]
) -> SequenceData:
    """Sequences with their classes."""
    return PaddedSequences.of(series, labels)
