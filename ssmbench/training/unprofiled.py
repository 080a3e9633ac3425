"""The profiler of a training that is not profiled."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

from lightning.pytorch.profilers import PassThroughProfiler

_NOTHING: AbstractContextManager = nullcontext()


class Unprofiled(PassThroughProfiler):
    """As Lightning's own, which makes a generator for every action: about a hundred in a step."""

    def profile(self, action_name: str) -> AbstractContextManager:  # pyright: ignore[reportIncompatibleMethodOverride]
        """One object for all actions, which does nothing."""
        return _NOTHING
