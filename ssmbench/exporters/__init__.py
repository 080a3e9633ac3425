"""Formats in which a frozen network leaves ssmbench, one module or package for each."""
