"""The environment of a result: device, threads, versions."""

from __future__ import annotations

import importlib.metadata
import os
import platform

import torch

from ssmbench.registry import loaded_plugins
from ssmbench.results import Environment, PluginFacts

_PACKAGES = ("ssmbench", "torch", "lightning", "triton", "numpy")


def environment(trained_on: torch.device, measured_on: torch.device) -> Environment:
    """The environment of this process, with the names of the devices for training and measuring."""
    return Environment(
        device=device_name(trained_on),
        measured_on=device_name(measured_on),
        threads=torch.get_num_threads(),
        cpus=os.cpu_count(),
        python=platform.python_version(),
        packages={name: _version(name) for name in _PACKAGES},
        plugins=tuple(
            PluginFacts(p.name, str(p.file), p.digest, p.version) for p in loaded_plugins()
        ),
    )


def device_name(device: torch.device) -> str:
    """The model of a GPU, or the kind of another device."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return device.type


def _version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None
