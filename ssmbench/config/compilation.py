"""What ``compile`` of a run config may be: whether ``torch.compile`` is used, or in which mode."""

from __future__ import annotations

from ssmbench.options import Allowed

#: The modes of ``torch.compile``; ``true`` is the first.
MODES = ("default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs")


def _is_allowed(value: bool | str) -> bool:
    return isinstance(value, bool) or value in MODES


COMPILE = Allowed(
    f"true, false, or one of {', '.join(MODES)}", _is_allowed, ("true", "false", *MODES)
)


def compile_mode(value: bool | str) -> str | None:
    """The mode of ``torch.compile`` that the option asks for; None for no compilation."""
    return value if isinstance(value, str) else MODES[0] if value else None
