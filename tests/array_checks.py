"""Types are checked at run time where they state the shape and dtype of an array, and only there.

The import hook of jaxtyping wraps every function, which makes the tests half as long again; types
that are not of arrays are checked by the static type checker (``test_types``). To be imported
before ssmbench. It imports the large packages itself: while the hook imports a module of ssmbench,
Python ignores the compiled files of all that this one imports, and compiles 2,500 files in 7
seconds.
"""

from __future__ import annotations

import functools
import inspect
import re
from importlib import import_module
from typing import Any

import jaxtyping

for package in ("lightning", "matplotlib.pyplot", "omegaconf", "scipy.optimize", "scipy.signal"):
    import_module(package)
for package in ("scipy.stats", "torch.utils._sympy.functions", "torchmetrics"):
    import_module(package)

_ARRAY = re.compile(r"\b(Bool|Complex|Float|Inexact|Int|Integer|Num|Real|Shaped|UInt)\d*\[")


def states_arrays(definition: Any) -> bool:
    """Whether an annotation of a function, or of a field of a class, is that of an array."""
    definition = getattr(definition, "fget", definition)  # of a property
    annotations = inspect.get_annotations(inspect.unwrap(definition)).values()
    return any(_ARRAY.search(str(annotation)) for annotation in annotations)


def install() -> None:
    """Let the hook's decorator leave other definitions as they are."""
    decorate = jaxtyping.jaxtyped

    @functools.wraps(decorate)
    def jaxtyped(definition: Any = None, **options: Any) -> Any:
        if definition is None:
            return functools.partial(jaxtyped, **options)
        wanted = definition == "context" or states_arrays(definition)
        return decorate(definition, **options) if wanted else definition

    jaxtyping.jaxtyped = jaxtyped


install()
