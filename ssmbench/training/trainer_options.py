"""Arguments of Lightning's Trainer in a run config: names, types and ranges, before training."""

from __future__ import annotations

import datetime
import types
from collections.abc import Callable, Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import lightning.pytorch as pl

from ssmbench.errors import require, suggest

#: Trainer arguments that ssmbench sets itself.
RESERVED = {
    "callbacks",
    "default_root_dir",
    "enable_checkpointing",
    "enable_model_summary",
    "enable_progress_bar",
    "logger",
    "num_sanity_val_steps",
    "use_distributed_sampler",
}

#: Precisions that would keep the parameters themselves in 16 bits.
HALF_PARAMETERS = {"16-true", "bf16-true", "transformer-engine", "transformer-engine-float16"}


def _is_share_or_count(value: Any) -> bool:
    """As Lightning reads limits: a whole number of batches, or a fraction of them."""
    return value >= 1 if isinstance(value, int) else 0 < value <= 1


def _is_interval(value: Any) -> bool:
    return _is_duration(value) if isinstance(value, str | dict) else _is_share_or_count(value)


def _is_duration(value: Any) -> bool:
    """Strings are left to Lightning, whose format has no sign."""
    if not isinstance(value, dict):
        return True
    try:
        return datetime.timedelta(**value) > datetime.timedelta()
    except (TypeError, OverflowError):
        return False


def _at_least(least: int) -> tuple[str, Callable[[Any], bool]]:
    return f"at least {least}", lambda value: value >= least


_SHARE = ("a whole number of batches from 1, or a fraction in (0, 1]", _is_share_or_count)
_DURATION = "a positive duration, for example 00:02:00:00 or {hours: 2}"

#: What a value must be where its type leaves it open; None is left to the type.
_RANGES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "accumulate_grad_batches": _at_least(1),
    "check_val_every_n_epoch": _at_least(1),
    "gradient_clip_algorithm": ("norm or value", lambda value: value in ("norm", "value")),
    "gradient_clip_val": _at_least(0),
    "limit_predict_batches": _SHARE,
    "limit_test_batches": _SHARE,
    "limit_train_batches": _SHARE,
    "limit_val_batches": _SHARE,
    "log_every_n_steps": _at_least(0),
    "max_epochs": _at_least(-1),
    "max_steps": _at_least(-1),
    "max_time": (_DURATION, _is_duration),
    "min_epochs": _at_least(0),
    "min_steps": _at_least(0),
    "num_nodes": _at_least(1),
    "overfit_batches": (
        "0, a whole number of batches, or a fraction in (0, 1]",
        lambda value: value == 0 or _is_share_or_count(value),
    ),
    "reload_dataloaders_every_n_epochs": _at_least(0),
    "val_check_interval": (f"{_SHARE[0]}, or {_DURATION}", _is_interval),
}


def check_trainer_options(options: Mapping[str, Any]) -> None:
    """Raise a UsageError unless every option is an argument of Lightning's Trainer that it can use:
    of its type, in its range, and with an end to the training."""
    hints = get_type_hints(pl.Trainer.__init__)
    allowed = set(hints) - {"return"} - RESERVED
    for key, value in options.items():
        require(key not in RESERVED, f"trainer.{key}: is set by ssmbench itself")
        require(
            key in allowed,
            f"trainer.{key}: no such Trainer argument; {suggest(str(key), allowed)}",
        )
        require(
            _fits(value, hints[key]), f"trainer.{key}: {value!r} is not of type {_name(hints[key])}"
        )
        words, test = _RANGES.get(key, ("", lambda value: True))
        require(value is None or test(value), f"trainer.{key}: must be {words}, got {value!r}")
    _check_end(options)
    require(
        str(options.get("precision")) not in HALF_PARAMETERS,
        "trainer.precision: an SSM's complex parameters have no half precision; take bf16-mixed, "
        "16-mixed, 32-true or 64-true",
    )


def _check_end(options: Mapping[str, Any]) -> None:
    """The learning rate's schedule needs the number of steps."""
    endless = options.get("max_epochs") == -1 and options.get("max_steps", -1) == -1
    require(
        not endless,
        "trainer: the learning rate's schedule needs an end; set max_epochs or max_steps",
    )


def _fits(value: Any, hint: Any) -> bool:
    """Whether a plain value is of a type; those that YAML has no values of fit nothing."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(_fits(value, part) for part in parts)
    if origin is Literal:
        return any(value == part and type(value) is type(part) for part in parts)
    if origin is list:
        return isinstance(value, list) and all(_fits(item, parts[0]) for item in value)
    if origin is dict:
        items = value.items() if isinstance(value, dict) else ()
        fit = all(_fits(k, parts[0]) and _fits(v, parts[1]) for k, v in items)
        return isinstance(value, dict) and fit
    return type(value) is hint or (type(value) is int and hint is float)


def _name(hint: Any) -> str:
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(dict.fromkeys(_name(part) for part in get_args(hint)))
    if get_origin(hint) is Literal:
        return " or ".join(repr(part) for part in get_args(hint))
    return getattr(hint, "__name__", str(hint)) if not get_args(hint) else str(hint)
