"""TensorBoard's messages: protobuf makes their classes at run time, so nothing is known of their
types. Imported when they are needed, since that takes a while."""

from __future__ import annotations

from importlib import import_module
from typing import Any

#: A message ``Summary``: what one call writes into a file of events.
Summary = Any
#: A message ``HParamInfo``: a column of the page "HParams".
Column = Any


def core(name: str) -> Any:
    """A module of the messages that all plugins share, for example ``summary_pb2``."""
    return import_module(f"tensorboard.compat.proto.{name}")


def plugin(name: str) -> Any:
    """A module of a plugin, for example ``hparams.api_pb2``."""
    return import_module(f"tensorboard.plugins.{name}")


def struct() -> Any:
    """Protobuf's module of plain values."""
    return import_module("google.protobuf.struct_pb2")
