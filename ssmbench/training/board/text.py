"""Texts of a run for TensorBoard."""

from __future__ import annotations

from dataclasses import asdict

from ssmbench.config import RunConfig
from ssmbench.yamlio import dump_yaml


def config_in_markdown(run: RunConfig) -> str:
    """The resolved config as YAML in a block of code."""
    return f"```yaml\n{dump_yaml(asdict(run))}```"
