"""Build the task, the network and the optimizer of a run from its typed config.

Training, loading, the library, the conformance kit and the tools all use this package.
"""
