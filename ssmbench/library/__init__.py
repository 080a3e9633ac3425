"""The functions of ``import ssmbench``: the command line and notebooks call these.

Wrong input is a :class:`ssmbench.errors.UsageError` of one sentence.
"""
