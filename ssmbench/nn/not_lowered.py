"""The error for a part of a network that cannot be exported."""

from __future__ import annotations

from torch import nn

from ssmbench import registry
from ssmbench.errors import UsageError


def not_lowered(part: nn.Module, base: type) -> UsageError:
    """The error for a part that has no form in plain operations; it names those that have."""
    kind = next(k for k in registry.KINDS.values() if k.base.endswith(f":{base.__name__}"))
    names = {entry.factory: entry.name for entry in kind}
    own = getattr(base, "lower", None)
    allowed = [e.name for e in kind if getattr(e.factory, "lower", own) is not own]
    name = names.get(type(part), type(part).__name__)
    return UsageError(
        f"export: the {kind.kind} {name} has no form in plain operations; allowed: "
        + ", ".join(allowed)
    )
