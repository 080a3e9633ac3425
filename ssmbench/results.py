"""What a run leaves behind, as immutable typed values: :class:`Result` and its parts.

Attribute names are the keys of ``result.json``. Reading follows one rule:

- a result of this schema is read as it is; keys it does not know are ignored, a missing key takes
  the default stated here, and one without a default is an error that names the key;
- a result of schema 2 is brought to schema 3 by :func:`_from_schema_2` and then read so;
- older and newer ones are refused with one sentence that names the way out.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from typing import Any, Self, Union, get_args, get_origin, get_type_hints

from ssmbench.errors import UsageError

#: The schema that is written, and the oldest that is read.
SCHEMA, OLDEST_SCHEMA = 3, 2


class ResultError(UsageError):
    """A result that cannot be read: a key that is missing, or a value of another type."""


class SchemaError(ResultError):
    """A result of a schema that this version does not read; the message names the way out."""


@dataclass(frozen=True)
class Record:
    """Base of the values in a result: to and from plain dicts, by the types of their fields."""

    def to_dict(self) -> dict[str, Any]:
        """Plain dicts, lists, strings and numbers, as :mod:`ssmbench.jsonio` writes them."""
        return {field.name: _plain(getattr(self, field.name)) for field in fields(self)}

    @classmethod
    def from_dict(cls, data: Any, source: str = "result") -> Self:
        """The value that :meth:`to_dict` gave; unknown keys are ignored.

        Raises:
            ResultError: a key is missing, or a value is of another type; the message starts with
                ``source`` and names the key.
        """
        return _record(cls, data, source, "")


@dataclass(frozen=True)
class LayerGains(Record):
    """One SSM layer: L2 gains from its input to its output, and its poles.

    ``promised`` is what its parametrization declares of the continuous system, before sampling.
    ``verified`` is proved not to exceed the gain, and ``verified_bound`` not to lie below it
    (infinite where no proof succeeded); ``unproved`` names the figures that are estimates. Both
    are of exact arithmetic on the stored matrices; ``rounding`` bounds what the layer's own
    precision may add.
    A time-varying layer has nothing verified, and a ``note`` that says so; ``frozen``, the radius
    and the margin are those of the systems that it is at some steps of some inputs, and the attack
    is incremental, around zero input and its inputs.
    """

    declared: float | None
    verified: float | None
    attacked: float
    peak_frequency: float
    spectral_radius: float
    margin: float
    promised: float | None = None
    frozen: float | None = None
    note: str = ""
    verified_bound: float | None = None
    unproved: tuple[str, ...] = ()
    rounding: float | None = None


@dataclass(frozen=True)
class NetworkGains(Record):
    """The incremental gain of the whole network, from its input to its prediction.

    ``bound`` is composed from what is proved of the layers, and infinite for the ``reason`` given.
    ``attacked_from_zero`` is the largest found where the base is zero input; it is the *zero-state*
    gain ``||f(u)|| / ||u||`` where f(0) = 0, else that is None for the ``zero_state_reason``.
    ``gains_from`` is "input", or "encoded input" where the input itself has no norm (tokens).
    """

    declared: float | None
    bound: float
    reason: str
    attacked: float
    attacked_from_zero: float | None = None
    zero_state: float | None = None
    zero_state_reason: str = ""
    gains_from: str = "input"


@dataclass(frozen=True)
class Gains(Record):
    """The worst figures over the SSM layers, the layers themselves, and the network.

    ``promised`` and ``declared`` are None unless every layer has the figure. ``arithmetic`` is the
    precision of the network's parameters; ``violations`` has a sentence for every place where
    declared >= verified >= attacked does not hold. ``frozen`` and ``note`` are given where a layer
    is time-varying.
    """

    declared: float | None
    verified: float | None
    attacked: float
    spectral_radius: float
    network: NetworkGains
    promised: float | None = None
    margin: float | None = None
    unproved: tuple[str, ...] = ()
    violations: tuple[str, ...] = ()
    arithmetic: str = "float32"
    layers: tuple[LayerGains, ...] = ()
    note: str = ""
    frozen: float | None = None


@dataclass(frozen=True)
class Scores(Record):
    """The task's metric with the weights that were best on the validation split."""

    val: float
    test: float


@dataclass(frozen=True)
class RobustnessPoint(Record):
    """The score under disturbances of one ``kind`` (random or adversarial), whose l2 norm is
    ``energy`` times that of a typical input; None where a prediction is not finite."""

    energy: float
    kind: str
    score: float | None


@dataclass(frozen=True)
class TaskFacts(Record):
    """What a reader of the scores must know; ``source`` says where the data are from."""

    name: str
    source: str
    metric: str
    higher_is_better: bool
    unit: str
    data_digest: str = ""


@dataclass(frozen=True)
class PluginFacts(Record):
    """A plugin that was loaded: its name, its file, and what identifies its source: a digest, and
    the version of the package that it came in (empty for a file of its own)."""

    name: str
    file: str = ""
    digest: str = ""
    version: str = ""


@dataclass(frozen=True)
class Environment(Record):
    """What a result was computed with.

    ``device`` is where the network was trained, which its speed is of; ``measured_on`` is where its
    gains and its robustness were computed.
    """

    device: str
    threads: int
    measured_on: str = ""
    cpus: int | None = None
    python: str = ""
    packages: dict[str, str | None] | None = None
    plugins: tuple[PluginFacts, ...] = ()


@dataclass(frozen=True)
class Result(Record):
    """A complete run, ``finished`` or ``diverged`` (which has no scores).

    ``diverged_at`` is the step of the first loss that is not finite; ``seconds`` is the time from
    the start of training to the end of the measurement.
    """

    status: str
    diverged_at: int | None
    scores: Scores | None
    task: TaskFacts
    gain: Gains
    robustness: tuple[RobustnessPoint, ...]
    parameters: int
    steps_per_second: float | None
    environment: Environment
    fingerprint: str = ""
    warnings: tuple[str, ...] = ()
    variant: str = ""
    parametrization: str = ""
    discretizer: str | None = None
    seed: int = 0
    steps: int | None = None
    seconds: float | None = None
    schema: int = SCHEMA

    @property
    def diverged(self) -> bool:
        return self.status == "diverged"

    @classmethod
    def from_dict(cls, data: Any, source: str = "result") -> Result:
        """A result of schema 2 or 3, as the module's rule says.

        Raises:
            SchemaError: of another schema.
            ResultError: a key is missing, or a value is of another type.
        """
        if not isinstance(data, Mapping):
            raise ResultError(f"{source}: not a result")
        result = _record(cls, _migrated(data, source), source, "")
        if result.status not in ("finished", "diverged"):
            raise ResultError(f"{source}: status: must be finished or diverged")
        if not result.diverged and result.scores is None:
            raise ResultError(f"{source}: scores: missing from a finished run")
        return result


def _migrated(data: Mapping[str, Any], source: str) -> Mapping[str, Any]:
    schema = data.get("schema")
    if not isinstance(schema, int) or isinstance(schema, bool) or schema < OLDEST_SCHEMA:
        raise SchemaError(
            f"{source}: written by an older ssmbench (schema {schema}, this one reads "
            f"{OLDEST_SCHEMA} to {SCHEMA}): run it again with --force"
        )
    if schema > SCHEMA:
        raise SchemaError(
            f"{source}: written by a newer ssmbench (schema {schema}, this one reads "
            f"{OLDEST_SCHEMA} to {SCHEMA}): update ssmbench"
        )
    return _from_schema_2(data, source) if schema == 2 else data


_SCHEMA_2_ENVIRONMENT = ("python", "device", "threads", "cpus")


def _from_schema_2(data: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Schema 3 named the metric, let a diverged run have no scores instead of empty ones, put the
    versions of packages together, and said where gains were measured: it had been the CPU."""
    task, gain, environment = (
        _mapping(data, key, source) for key in ("task", "gain", "environment")
    )
    network = _mapping(gain, "network", f"{source}: gain")
    versions = {k: v for k, v in environment.items() if k not in _SCHEMA_2_ENVIRONMENT}
    known = {k: v for k, v in environment.items() if k in _SCHEMA_2_ENVIRONMENT}
    return {
        **data,
        "schema": SCHEMA,
        "scores": data.get("scores") or None,
        "task": _renamed(task, "score", "metric"),
        "gain": {
            **gain,
            "network": {
                "declared": None,  # no network had a prescribed gain before there was the key
                **_renamed(network, "attacked_from_silence", "attacked_from_zero"),
            },
        },
        "environment": {**known, "packages": versions, "measured_on": "cpu"},
    }


def _mapping(data: Mapping[str, Any], key: str, source: str) -> Mapping[str, Any]:
    value = data.get(key)
    if not isinstance(value, Mapping):
        raise ResultError(f"{source}: {key}: missing")
    return value


def _renamed(data: Mapping[str, Any], old: str, new: str) -> dict[str, Any]:
    return {new if key == old else key: value for key, value in data.items()}


# --- between dataclasses and plain dicts ----------------------------------------------------------


def _plain(value: Any) -> Any:
    if isinstance(value, Record):
        return value.to_dict()
    if isinstance(value, Mapping):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, tuple | list):
        return [_plain(inner) for inner in value]
    return value


@cache
def _hints(kind: type) -> dict[str, Any]:
    return get_type_hints(kind)


def _record(kind: type, data: Any, source: str, where: str) -> Any:
    if not isinstance(data, Mapping):
        raise _mismatch(source, where, "a mapping", data)
    values = {}
    for field in fields(kind):
        at = f"{where}.{field.name}" if where else field.name
        if field.name in data:
            values[field.name] = _value(_hints(kind)[field.name], data[field.name], source, at)
        elif field.default is MISSING and field.default_factory is MISSING:
            raise ResultError(f"{source}: {at}: missing")
    return kind(**values)


def _value(hint: Any, value: Any, source: str, where: str) -> Any:
    """``value`` as a value of the type ``hint``."""
    if isinstance(hint, type) and is_dataclass(hint):
        return _record(hint, value, source, where)
    origin, parts = get_origin(hint), get_args(hint)
    if origin in (Union, types.UnionType):
        if value is None and type(None) in parts:
            return None
        (part,) = (part for part in parts if part is not type(None))
        return _value(part, value, source, where)
    if origin is tuple:
        if not isinstance(value, list | tuple):
            raise _mismatch(source, where, "a list", value)
        return tuple(_value(parts[0], v, source, f"{where}[{i}]") for i, v in enumerate(value))
    if origin is dict:
        if not isinstance(value, Mapping):
            raise _mismatch(source, where, "a mapping", value)
        return {k: _value(parts[1], v, source, f"{where}.{k}") for k, v in value.items()}
    return _scalar(hint, value, source, where)


_SCALARS: dict[type, tuple[str, Callable[[Any], bool]]] = {
    float: ("a number", lambda v: isinstance(v, int | float) and not isinstance(v, bool)),
    int: ("a whole number", lambda v: isinstance(v, int) and not isinstance(v, bool)),
    bool: ("true or false", lambda v: isinstance(v, bool)),
    str: ("a text", lambda v: isinstance(v, str)),
}


def _scalar(kind: type, value: Any, source: str, where: str) -> Any:
    words, test = _SCALARS[kind]
    if not test(value):
        raise _mismatch(source, where, words, value)
    return kind(value)


def _mismatch(source: str, where: str, words: str, value: Any) -> ResultError:
    place = f"{where}: " if where else ""
    return ResultError(f"{source}: {place}must be {words}, got {value!r:.60}")
