"""The functions of ``import ssmbench``, which the command line and notebooks call.

Invalid input raises a :class:`ssmbench.errors.UsageError` with a one-sentence message.
"""
