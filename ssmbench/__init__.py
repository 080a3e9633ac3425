"""ssmbench: train state-space models; see how well they learn, whether they are stable, and how
much they can amplify a disturbance.

    import ssmbench as sb

    layer = sb.layer("s4d", discretizer="zoh", d_model=16)
    sb.analyse(layer.system())
    run = sb.train("digits_s4d", {"model.d_model": 64})
    run.scores, run.gains, run.model

Heavy dependencies (torch, Lightning, matplotlib) are imported on first use.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ssmbench.analysis.gain import GainReport
    from ssmbench.errors import SsmbenchError, UsageError
    from ssmbench.library.comparing import Comparison, compare
    from ssmbench.library.conformance import check
    from ssmbench.library.entries import list as list
    from ssmbench.library.entries import register, show
    from ssmbench.library.exports import export_run, load_exported
    from ssmbench.library.imports import import_run
    from ssmbench.library.layers import layer, network
    from ssmbench.library.new import new
    from ssmbench.library.plans import plan_runs
    from ssmbench.library.plots import Plot, plot
    from ssmbench.library.progress import suite_status
    from ssmbench.library.publications import publish, verify
    from ssmbench.library.reduction import reduce_exponentials, reduce_run
    from ssmbench.library.reports import Report, write_report
    from ssmbench.library.runs import IncompleteRunError, Run, attack, load, train
    from ssmbench.library.searches import SearchReport, search_suite
    from ssmbench.library.suites import run_suite
    from ssmbench.library.systems import analyse, discretize, system

    __version__: str

#: The public names, each with the module that defines it.
_HOMES = {
    "Comparison": "library.comparing",
    "GainReport": "analysis.gain",
    "IncompleteRunError": "library.runs",
    "Plot": "library.plots",
    "Report": "library.reports",
    "Run": "library.runs",
    "SearchReport": "library.searches",
    "SsmbenchError": "errors",
    "UsageError": "errors",
    "analyse": "library.systems",
    "attack": "library.runs",
    "check": "library.conformance",
    "compare": "library.comparing",
    "discretize": "library.systems",
    "export_run": "library.exports",
    "import_run": "library.imports",
    "layer": "library.layers",
    "list": "library.entries",
    "load": "library.runs",
    "load_exported": "library.exports",
    "network": "library.layers",
    "new": "library.new",
    "plan_runs": "library.plans",
    "plot": "library.plots",
    "publish": "library.publications",
    "reduce_exponentials": "library.reduction",
    "reduce_run": "library.reduction",
    "register": "library.entries",
    "run_suite": "library.suites",
    "search_suite": "library.searches",
    "show": "library.entries",
    "suite_status": "library.progress",
    "system": "library.systems",
    "train": "library.runs",
    "verify": "library.publications",
    "write_report": "library.reports",
}

#: Without ``list``, so that ``from ssmbench import *`` does not shadow the built-in.
__all__ = [
    "Comparison",
    "GainReport",
    "IncompleteRunError",
    "Plot",
    "Report",
    "Run",
    "SearchReport",
    "SsmbenchError",
    "UsageError",
    "__version__",
    "analyse",
    "attack",
    "check",
    "compare",
    "discretize",
    "export_run",
    "import_run",
    "layer",
    "load",
    "load_exported",
    "network",
    "new",
    "plan_runs",
    "plot",
    "publish",
    "reduce_exponentials",
    "reduce_run",
    "register",
    "run_suite",
    "search_suite",
    "show",
    "suite_status",
    "system",
    "train",
    "verify",
    "write_report",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        value: Any = version("ssmbench")
    elif name in _HOMES:
        value = getattr(importlib.import_module(f"ssmbench.{_HOMES[name]}"), name)
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    globals()[name] = value  # cached: the next access does not call __getattr__
    return value


def __dir__() -> Any:
    return sorted({*_HOMES, *(name for name in globals() if name.startswith("__")), "__version__"})
