"""One C file."""

from ssmbench.exporters.c.exporter import C

__all__ = ["C"]
