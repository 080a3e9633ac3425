"""What a run leaves behind, as immutable typed values: :class:`Result` and its parts.

Attribute names are the keys of ``result.json``. Reading follows one rule:

- a result of this schema is read as it is; keys it does not know are ignored, a missing key takes
  the default that its field states, and one without a default is an error that names the key;
- a result of schema 2 is brought to schema 3 (``schema.migrated``) and then read so;
- older and newer ones are refused with one sentence that names the way out.
"""

from ssmbench.results.parts import (
    Certified,
    Environment,
    FurtherTest,
    Gains,
    ImportedFrom,
    LayerGains,
    LayerMeasure,
    NeighbourFloor,
    NetworkGains,
    PluginFacts,
    PublishedScore,
    RobustnessPoint,
    Scores,
    TaskFacts,
)
from ssmbench.results.provenance import Provenance, Sitting
from ssmbench.results.record import Record, ResultError
from ssmbench.results.result import Result
from ssmbench.results.schema import OLDEST_SCHEMA, SCHEMA, SchemaError
from ssmbench.results.truncation import TruncatedLayer, Truncation

__all__ = [
    "OLDEST_SCHEMA",
    "SCHEMA",
    "Certified",
    "Environment",
    "FurtherTest",
    "Gains",
    "ImportedFrom",
    "LayerGains",
    "LayerMeasure",
    "NeighbourFloor",
    "NetworkGains",
    "PluginFacts",
    "Provenance",
    "PublishedScore",
    "Record",
    "Result",
    "ResultError",
    "RobustnessPoint",
    "SchemaError",
    "Scores",
    "Sitting",
    "TaskFacts",
    "TruncatedLayer",
    "Truncation",
]
