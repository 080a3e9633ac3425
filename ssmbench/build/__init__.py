"""From a typed config to what a run needs: its task, its network, its optimizer.

The one place where components become objects: training, loading, the library, the conformance kit
and the tools all build here.
"""
