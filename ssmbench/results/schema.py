"""Results of other schemas: what is read, and how."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ssmbench.results.record import ResultError

#: The schema that is written, and the oldest that is read.
SCHEMA, OLDEST_SCHEMA = 3, 2


class SchemaError(ResultError):
    """A result of a schema that this version does not read; the message names the way out."""


def migrated(data: Mapping[str, Any], source: str) -> Mapping[str, Any]:
    """A result of any schema that is read, in the present one.

    Raises:
        SchemaError: of another schema.
        ResultError: a part that every result has is missing.
    """
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
