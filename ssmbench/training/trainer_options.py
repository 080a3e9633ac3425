"""Arguments of Lightning's Trainer in a run config: their names and values, before training."""

from __future__ import annotations

import datetime
import re
import types
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin, get_type_hints

import lightning.pytorch as pl
from lightning.pytorch.accelerators import AcceleratorRegistry

from ssmbench.errors import require, suggest
from ssmbench.options import Allowed, one_of

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

#: How long a process waits for another one in an operation between them, and at the start.
_TIMEOUT = datetime.timedelta(minutes=10)

#: Precisions in which autocast computes parts of the network in 16 bits.
MIXED = {"16", "16-mixed", "bf16", "bf16-mixed"}
#: Values of ``trainer.precision`` for parameters in double precision.
DOUBLE = {"64", "64-true"}
_FULL = {"32", "32-true"} | DOUBLE
#: Precisions that would keep the parameters themselves in 16 bits.
HALF_PARAMETERS = {"16-true", "bf16-true", "transformer-engine", "transformer-engine-float16"}
_PRECISIONS = ("16-mixed", "bf16-mixed", "32-true", "64-true")


def _is_precision(value: Any) -> bool:
    return type(value) in (int, str) and str(value) in MIXED | _FULL | HALF_PARAMETERS


def _is_share_or_count(value: Any) -> bool:
    """As Lightning reads limits: a whole number of batches, or a fraction of them."""
    return value >= 1 if isinstance(value, int) else 0 < value <= 1


def _is_interval(value: Any) -> bool:
    return _is_duration(value) if isinstance(value, str | dict) else _is_share_or_count(value)


def _is_duration(value: Any) -> bool:
    if isinstance(value, str):
        parts = re.fullmatch(r"(\d+):(\d\d):(\d\d):(\d\d)", value.strip())
        return parts is not None and any(map(int, parts.groups()))
    try:
        return datetime.timedelta(**value) > datetime.timedelta()
    except (TypeError, OverflowError):
        return False


def waits_for(options: Mapping[str, Any]) -> datetime.timedelta:
    """The option ``timeout``: how long processes of a run wait for each other."""
    value = options.get("timeout")
    if value is None:
        return _TIMEOUT
    if isinstance(value, str):
        days, hours, minutes, seconds = map(int, value.split(":"))
        return datetime.timedelta(days, seconds, hours=hours, minutes=minutes)
    return datetime.timedelta(**value)


def _is_devices(value: Any) -> bool:
    """``auto``, a number of processes, or indices of GPUs, which Lightning also reads in a string
    with a comma."""
    if isinstance(value, str) and "," in value:
        value = [part.strip() for part in value.split(",") if part.strip()]
    if isinstance(value, list):
        indices = [str(index) for index in value]
        return len(indices) == len(set(indices)) > 0 and all(map(str.isdecimal, indices))
    text = str(value)
    return text in ("auto", "-1") or (text.isdecimal() and int(text) >= 1)


def _at_least(least: int, what: str = "a whole number") -> Allowed:
    return Allowed(f"{what} of at least {least}", lambda value: value >= least)


_SHARE = Allowed("a whole number of batches from 1, or a fraction in (0, 1]", _is_share_or_count)
_DURATION = Allowed("a positive duration, for example 00:02:00:00 or {hours: 2}", _is_duration)
#: The strategies that are tested. What is measured in child processes (ddp_spawn) would be lost.
_STRATEGIES = (
    "auto",
    "ddp",
    "ddp_find_unused_parameters_false",
    "ddp_find_unused_parameters_true",
)
#: Strategies that divide the parameters among ranks, by the beginning of their names.
_SHARDING = ("fsdp", "deepspeed")
_NO_SHARDING = (
    "divides the parameters among ranks, but gains are proved of whole matrices on one rank, and "
    "these networks need their memory for activations; take ddp with a smaller batch_size "
    "(effective_batch keeps the sequences of a step), or sequence_parallel for long sequences"
)


def _allowed_values() -> dict[str, Allowed]:
    """The values of an option, where its type admits others too; None is left to the type."""
    return {
        "accelerator": one_of("auto", "gpu", *sorted(AcceleratorRegistry.available_accelerators())),
        "accumulate_grad_batches": _at_least(1),
        "barebones": Allowed("false, because it turns off the log", lambda value: not value),
        "check_val_every_n_epoch": _at_least(1),
        "devices": Allowed(
            "auto, a whole number of at least 1, -1 for all GPUs, or a list of GPU indices",
            _is_devices,
        ),
        "fast_dev_run": Allowed(
            "false, because it turns off checkpoints (for a short run set limit_train_batches)",
            lambda value: not value,
        ),
        "gradient_clip_algorithm": one_of("norm", "value"),
        "gradient_clip_val": _at_least(0, "a number"),
        "limit_predict_batches": _SHARE,
        "limit_test_batches": _SHARE,
        "limit_train_batches": _SHARE,
        "limit_val_batches": _SHARE,
        "log_every_n_steps": _at_least(0),
        "max_epochs": _at_least(-1),
        "max_steps": _at_least(-1),
        "max_time": _DURATION,
        "min_epochs": _at_least(0),
        "min_steps": _at_least(0),
        "num_nodes": _at_least(1),
        "overfit_batches": Allowed(
            "0, a whole number of batches, or a fraction in (0, 1]",
            lambda value: value == 0 or _is_share_or_count(value),
        ),
        "precision": Allowed(f"one of {', '.join(_PRECISIONS)}", _is_precision, _PRECISIONS),
        "profiler": one_of("simple", "advanced", "pytorch", "xla"),
        "reload_dataloaders_every_n_epochs": _at_least(0),
        "strategy": one_of(*_STRATEGIES),
        "timeout": _DURATION,
        "val_check_interval": Allowed(f"{_SHARE.words}, or {_DURATION.words}", _is_interval),
    }


def check_trainer_options(options: Mapping[str, Any], ends: bool = False) -> None:
    """Check arguments of Lightning's Trainer: names, types and values, and that training ends.

    ``ends``: whether something else ends it, a budget of time.

    Raises:
        UsageError: the message names the argument and what is allowed.
    """
    hints, allowed = get_type_hints(pl.Trainer.__init__), _allowed_values()
    hints["timeout"] = hints["max_time"]  # an option of ssmbench
    known = set(hints) - {"return"} - RESERVED
    for key, value in options.items():
        require(key not in RESERVED, f"trainer.{key}: is set by ssmbench itself")
        near = suggest(str(key), known)
        require(key in known, f"trainer.{key}: no such Trainer argument; {near}")
        shards = key == "strategy" and str(value).startswith(_SHARDING)
        require(not shards, f"trainer.strategy: {value} {_NO_SHARDING}")
        _check_value(f"trainer.{key}", value, hints[key], allowed.get(key))
    if not ends:
        _check_end(options)
    require(
        str(options.get("precision")) not in HALF_PARAMETERS,
        "trainer.precision: an SSM's complex parameters have no half precision; take bf16-mixed, "
        "16-mixed, 32-true or 64-true",
    )


def _check_value(name: str, value: Any, hint: Any, allowed: Allowed | None) -> None:
    if allowed is None:
        allowed = Allowed(_words(hint), lambda value: True)
    valid = _has_type(value, hint) and (value is None or allowed.test(value))
    got = allowed.problem(value) if allowed.names else f"must be {allowed.words}, got {value!r}"
    require(valid, f"{name}: {got}")


def _check_end(options: Mapping[str, Any]) -> None:
    """The schedule of the learning rate needs the number of steps."""
    endless = options.get("max_epochs") == -1 and options.get("max_steps", -1) == -1
    require(
        not endless,
        "trainer: the learning rate's schedule needs an end; set max_epochs, max_steps or budget",
    )


def _has_type(value: Any, hint: Any) -> bool:
    """Whether a value read from YAML has the type; classes of Lightning have no such values."""
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        return any(_has_type(value, part) for part in parts)
    if origin is Literal:
        return any(value == part and type(value) is type(part) for part in parts)
    if origin is list:
        return isinstance(value, list) and all(_has_type(item, parts[0]) for item in value)
    if origin is dict:
        items = value.items() if isinstance(value, dict) else ()
        fit = all(_has_type(k, parts[0]) and _has_type(v, parts[1]) for k, v in items)
        return isinstance(value, dict) and fit
    return type(value) is hint or (type(value) is int and hint is float)


_WORDS = {
    bool: "true or false",
    float: "a number",
    int: "a whole number",
    str: "text",
    types.NoneType: "null",
}


def _words(hint: Any) -> str:
    """The values of a type that YAML can represent; "" if there are none."""
    if get_origin(hint) in (Union, types.UnionType):
        return " or ".join(filter(None, map(_words, get_args(hint))))
    if get_origin(hint) is Literal:
        return " or ".join(map(str, get_args(hint)))
    return _WORDS.get(hint, "")
