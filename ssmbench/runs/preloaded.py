"""What every run imports sooner or later, imported once by the server from which runs are forked.

Not the scans: theirs may ask a GPU's driver what there is, which no process may do before it forks.
"""

from __future__ import annotations

import torch.utils.tensorboard  # noqa: F401

import ssmbench.runs.execute  # noqa: F401
from ssmbench import registry

for kind in (
    registry.tasks,
    registry.parametrizations,
    registry.discretizers,
    registry.blocks,
    registry.nonlinearities,
    registry.norms,
    registry.encoders,
    registry.decoders,
    registry.optimizers,
):
    kind.load_builtins()
