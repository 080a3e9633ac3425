"""Figures of systems, networks and training: functions of plain values that return a Figure.

Each module has a function of data that returns a :class:`~ssmbench.figures.chart.Chart`, which
``drawing`` turns into a matplotlib figure and ``interactive`` into a page with plotly; and one of
the same meaning that returns the figure. Figures of a whole suite, which need its results, are in
:mod:`ssmbench.report.figures`.
"""
