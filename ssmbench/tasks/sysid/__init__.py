"""System identification: predict a system's outputs from its inputs, from recorded experiments.

A benchmark is one file: a :class:`~ssmbench.tasks.sysid.task.SystemIdentification` that describes
its signals and reads its records.
"""
