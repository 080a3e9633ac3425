"""Programs of torch.export: the exporter alone is imported, PyTorch when it is used."""

from ssmbench.exporters.torch_export.exporter import TorchExport

__all__ = ["TorchExport"]
