"""The report as one self-contained HTML page; the only function is :func:`page`."""

from ssmbench.report.html.page import page

__all__ = ["page"]
