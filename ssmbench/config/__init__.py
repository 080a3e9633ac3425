"""Typed configs, based on OmegaConf: read, merge, validate, resolve, fingerprint.

A *component* is a mapping ``{name: ..., option: ...}`` with the options of the registry entry of
that name; a string is a component with default options. A resolved config is a dict that contains
every option of every component, so its fingerprint identifies the run.
"""

from ssmbench.config.batches import accumulation, batch_words
from ssmbench.config.components import build, options_of, resolve_component
from ssmbench.config.durations import seconds
from ssmbench.config.identity import NOT_FINGERPRINTED, SCHEMA_VERSION, fingerprint
from ssmbench.config.layers import leaves, merge, nested, parse_overrides
from ssmbench.config.places import COMPONENTS
from ssmbench.config.resolution import check_part, load_run, resolve, resolve_model, typed
from ssmbench.config.schema import AnalysisConfig, ModelConfig, RunConfig, TruncationConfig, ranks
from ssmbench.config.sources import (
    all_earlier_sources,
    changed_sources,
    check_sources,
    earlier_sources,
    without_sources,
)
from ssmbench.config.validation import copied
from ssmbench.yamlio import read_yaml

__all__ = [
    "COMPONENTS",
    "NOT_FINGERPRINTED",
    "SCHEMA_VERSION",
    "AnalysisConfig",
    "ModelConfig",
    "RunConfig",
    "TruncationConfig",
    "accumulation",
    "all_earlier_sources",
    "batch_words",
    "build",
    "changed_sources",
    "check_part",
    "check_sources",
    "copied",
    "earlier_sources",
    "fingerprint",
    "leaves",
    "load_run",
    "merge",
    "nested",
    "options_of",
    "parse_overrides",
    "ranks",
    "read_yaml",
    "resolve",
    "resolve_component",
    "resolve_model",
    "seconds",
    "typed",
    "without_sources",
]
