"""Figures of systems, networks and training: functions of plain values that return a Figure.

Figures of a whole suite, which need its results, are in :mod:`ssmbench.report.figures`.
"""
