"""The checks of a published folder that somebody else wrote: nothing in it is trusted.

``tree``: files and digests. ``submission``: one run's files. ``network`` and ``gains``: what is
computed from its weights again. ``scores``: on the data, where they are here. ``copies``: across
runs. ``processes``: each run in a process of its own.
"""
