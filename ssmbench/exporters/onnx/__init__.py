"""ONNX: the exporter alone is imported, since the graphs need a package that may be missing."""

from ssmbench.exporters.onnx.exporter import Onnx

__all__ = ["Onnx"]
