"""Typed configs over OmegaConf: read, merge, validate, resolve, fingerprint.

A *component* is a mapping ``{name: ..., option: ...}`` whose options are those of the registry
entry of that name; a bare string is a component with default options. A resolved config is a plain
dict in which every option of every component stands, so its fingerprint names the run.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Any

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ssmbench import registry
from ssmbench.errors import UsageError, require

#: Part of every fingerprint: raise it when the meaning of a config changes.
SCHEMA_VERSION = 2


@dataclass
class ModelConfig:
    """The network.

    ``norm`` is none or layer; ``pooling`` (for pooled tasks) mean, last or unit (sum / sqrt(L));
    ``residual`` add, convex or none. ``gamma`` prescribes the incremental gain of the whole.
    ``bidirectional`` adds to each SSM layer's output that of a second one in reversed time;
    ``initial_state`` is zero or learned.
    """

    d_model: int = 32
    n_layers: int = 2
    parametrization: Any = "s4d"
    discretizer: Any = None
    normaliser: Any = None
    scan: Any = "auto"
    nonlinearity: Any = "gelu"
    norm: str = "none"
    pooling: str = "mean"
    mix: bool = True
    residual: str = "add"
    dropout: float = 0.0
    gamma: float | None = None
    bidirectional: bool = False
    initial_state: str = "zero"


@dataclass
class OptimizerConfig:
    """What every optimizer has: SSM parameters have a learning rate of their own and no weight
    decay; both rates rise over ``warmup_fraction`` of the steps, then fall to ``final_fraction``.

    An optimizer with options of its own derives its config from this one.
    """

    lr: float = 4e-3
    ssm_lr: float = 1e-3
    weight_decay: float = 0.01
    warmup_fraction: float = 0.1
    final_fraction: float = 0.01


@dataclass
class AnalysisConfig:
    """Gains: how often layers are measured in training, and the adversary's budget at the end.

    ``robustness``: also the score under disturbances, of up to ``robustness_sequences`` test
    sequences, for which the adversary has ``robustness_steps`` at each energy.
    """

    every_n_epochs: int = 5
    attack_steps: int = 40
    attack_restarts: int = 8
    attack_seed: int = 0
    robustness: bool = True
    robustness_steps: int = 5
    robustness_sequences: int = 256


@dataclass
class RunConfig:
    """One run. ``variant`` is a label for reports; ``trainer`` goes to Lightning's Trainer."""

    variant: str = ""
    task: Any = "digits"
    model: ModelConfig = field(default_factory=ModelConfig)
    optimizer: Any = "adamw"
    analysis: AnalysisConfig = field(default_factory=AnalysisConfig)
    trainer: dict[str, Any] = field(default_factory=lambda: {"max_epochs": 20, "devices": 1})
    batch_size: int = 64
    #: Ranks that share each sequence, a segment each; divides trainer.devices x num_nodes.
    sequence_parallel: int = 1
    seed: int = 0
    #: Digest of the data that the task reads; found by :func:`resolve`, "" where they are missing.
    data_digest: str = ""


#: Where the components stand in a run config, and the registry that knows them.
COMPONENTS = {
    "task": registry.tasks,
    "model.parametrization": registry.parametrizations,
    "model.discretizer": registry.discretizers,
    "model.normaliser": registry.normalisers,
    "model.scan": registry.scans,
    "model.nonlinearity": registry.nonlinearities,
    "optimizer": registry.optimizers,
}

#: The name that a mapping without one has: ``optimizer: {lr: 0.01}`` means AdamW.
_IMPLIED_NAMES = {"optimizer": "adamw"}

#: Those that a model can do without.
_OPTIONAL = ("model.discretizer", "model.normaliser")

#: What the numbers of a run config must be; those of components are checked by their classes.
_LIMITS: dict[str, tuple[Callable[[float], bool], tuple[str, ...]]] = {
    "positive": (
        lambda v: v > 0,
        (
            "batch_size",
            "model.d_model",
            "model.n_layers",
            "analysis.attack_steps",
            "analysis.attack_restarts",
            "analysis.robustness_steps",
            "analysis.robustness_sequences",
        ),
    ),
    "finite and not negative": (
        lambda v: 0 <= v < math.inf,
        ("optimizer.lr", "optimizer.ssm_lr", "optimizer.weight_decay"),
    ),
    "in [0, 1]": (
        lambda v: 0 <= v <= 1,
        ("optimizer.warmup_fraction", "optimizer.final_fraction"),
    ),
    "in [0, 1)": (lambda v: 0 <= v < 1, ("model.dropout",)),
    "from 0 to 2^32 - 1": (lambda v: 0 <= v < 2**32, ("seed", "analysis.attack_seed")),
}

#: Labels and places: what does not change a run's result is not part of its name. The data in a
#: place are, by their digest. A run that ``max_time`` ended has no result and goes on under more.
NOT_FINGERPRINTED = ("variant", "task.data_dir", "trainer.max_time")


def read_yaml(path: str | Path) -> dict[str, Any]:
    """The mapping in a YAML file.

    Raises:
        UsageError: no such file, no mapping in it, or a syntax error (with its line).
    """
    path = Path(path)
    try:
        content = OmegaConf.to_container(OmegaConf.load(path))
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}" if mark else ""
        raise UsageError(f"{path}{where}: not YAML: {getattr(error, 'problem', error)}") from None
    except (OSError, UnicodeDecodeError, OmegaConfBaseException, RecursionError) as error:
        raise UsageError(f"{path}: cannot be read: {_first_line(error)[:200]}") from None
    usable = isinstance(content, dict) and bool(content)
    require(usable, f"{path}: must hold a mapping of keys to values")
    return content


def parse_overrides(overrides: Iterable[str]) -> dict[str, Any]:
    """``key=value`` arguments as a nested dict; values are YAML.

    Raises:
        UsageError: an argument without ``=``, or a value that is not YAML.
    """
    merged: dict[str, Any] = {}
    for argument in overrides:
        key, equals, _ = argument.partition("=")
        require(bool(equals and key), f"override {argument!r}: must be key=value")
        try:
            parsed = OmegaConf.to_container(OmegaConf.from_dotlist([argument]))
        except (OmegaConfBaseException, yaml.YAMLError) as error:
            raise UsageError(f"override {argument!r}: {_first_line(error)}") from None
        merged = merge(merged, parsed)
    return merged


def merge(base: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``base`` with ``over`` on top, key by key.

    A component of another name replaces the old one whole: its options mean something else.
    """
    merged = dict(base)
    for key, new in over.items():
        old = merged.get(key)
        if isinstance(new, str) and isinstance(old, dict) and "name" in old:
            new = {"name": new}
        if isinstance(old, str) and isinstance(new, dict) and "name" not in new:
            old = {"name": old}
        keep = isinstance(old, dict) and isinstance(new, dict)
        if keep and "name" in new and new["name"] != old.get("name", _IMPLIED_NAMES.get(key)):
            keep = False
        merged[key] = merge(old, new) if keep else new
    return merged


def resolve(config: Mapping[str, Any], source: str = "config") -> dict[str, Any]:
    """The complete, validated run config as a plain dict.

    Raises:
        UsageError: an unknown key or name (with the nearest ones), a wrong type, a NaN.
    """
    defaults = OmegaConf.to_container(OmegaConf.structured(RunConfig))
    plain = _validated(RunConfig, merge(defaults, config), source)
    for path, kind in COMPONENTS.items():
        parent, _, key = path.rpartition(".")
        holder = plain[parent] if parent else plain
        if holder[key] is not None:
            holder[key] = resolve_component(kind, holder[key], f"{source}: {path}")
        else:
            require(path in _OPTIONAL, f"{source}: {path}: needs a {kind.kind}")
    _check_numbers(plain, source)
    plain["data_digest"] = _data_digest(plain, source)
    return plain


def _data_digest(config: Mapping[str, Any], source: str) -> str:
    """That of the data as they are now. What is missing is refused where it is read, a plugin
    that fails where it is used."""
    given = config["data_digest"]
    try:
        found = build(registry.tasks, config["task"], batch_size=1, seed=0).data_digest
    except Exception:
        return given
    require(
        given in ("", found),
        f"{source}: data_digest: is {given}, but the task's data have {found}: they are other data;"
        " leave data_digest out to use them",
    )
    return found


def resolve_component(kind: registry.Registry, component: Any, where: str) -> dict[str, Any]:
    """``{name, every option}`` of a component given as a name or a mapping.

    Raises:
        UsageError: not a component, an unknown name or option, a wrong type.
    """
    if isinstance(component, str):
        component = {"name": component}
    valid = isinstance(component, Mapping) and isinstance(component.get("name"), str)
    article = "an" if kind.kind[0] in "aeiou" else "a"
    require(
        valid, f"{where}: must be {article} {kind.kind}'s name, or a mapping with the key 'name'"
    )
    options = {key: value for key, value in component.items() if key != "name"}
    entry = kind.get(component["name"])
    return {"name": entry.name, **_validated(entry.config, options, f"{where} ({entry.name})")}


def build(kind: registry.Registry, component: Mapping[str, Any], **context: Any) -> Any:
    """The object that a resolved component describes."""
    entry = kind.get(component["name"])
    return entry.build(options_of(kind, component), **context)


def options_of(kind: registry.Registry, component: Mapping[str, Any]) -> Any:
    """The options of a resolved component, as an instance of its entry's config class."""
    options = {key: value for key, value in component.items() if key != "name"}
    schema = OmegaConf.structured(kind.get(component["name"]).config)
    return OmegaConf.to_object(OmegaConf.merge(schema, options))


def typed(config: Mapping[str, Any]) -> RunConfig:
    """A resolved config as a :class:`RunConfig`; its components stay dicts."""
    return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(RunConfig), config))


def load_run(path: str | Path, overrides: Iterable[str] = ()) -> dict[str, Any]:
    """The resolved config of a run file with ``key=value`` overrides.

    Raises:
        UsageError: see :func:`read_yaml`, :func:`parse_overrides` and :func:`resolve`.
    """
    return resolve(merge(read_yaml(path), parse_overrides(overrides)), str(path))


def fingerprint(resolved: Mapping[str, Any]) -> str:
    """12 hex digits that name a resolved config."""
    named = {path: value for path, value in leaves(resolved) if not _is_unnamed(path)}
    text = json.dumps({"schema": SCHEMA_VERSION, **named}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _is_unnamed(path: str) -> bool:
    return any(path == name or path.startswith(f"{name}.") for name in NOT_FINGERPRINTED)


def _validated(schema: type, config: Mapping[str, Any], source: str) -> dict[str, Any]:
    try:
        merged = OmegaConf.merge(OmegaConf.structured(schema), dict(config))
        if hasattr(schema, "settle"):  # what depends on the machine becomes part of the name
            settled = OmegaConf.to_object(merged)
            settled.settle()
            merged = OmegaConf.structured(settled)
        return OmegaConf.to_container(merged, enum_to_str=True, resolve=True)
    except (OmegaConfBaseException, TypeError, ValueError) as error:
        key = getattr(error, "full_key", None)
        where = f"{source}: {key}" if key else source
        raise UsageError(f"{where}: {_naming_choices(_first_line(error), schema, key)}") from None


def _naming_choices(message: str, schema: type, key: str | None) -> str:
    """OmegaConf names an option's choices only where it got a string or a whole number."""
    default = getattr(schema, key or "", None)
    if not isinstance(default, Enum) or "expected one of" in message:
        return message
    return f"{message}; expected one of [{', '.join(m.name for m in type(default))}]"


def _check_numbers(config: Mapping[str, Any], source: str) -> None:
    for path, value in leaves(config):
        if isinstance(value, float) and not math.isfinite(value):
            word = "NaN" if math.isnan(value) else "infinite"
            raise UsageError(f"{source}: {path}: is {word}; give a number")
    values = dict(leaves(config))
    for wanted, (allowed, paths) in _LIMITS.items():
        for path in paths:
            require(
                allowed(values[path]),
                f"{source}: {path}: must be {wanted}, got {values[path]}",
            )


def leaves(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Every value that is no mapping, with its dotted path."""
    for key, value in config.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _first_line(error: BaseException) -> str:
    return str(error).strip().partition("\n")[0]
