"""The memory and the energy that a process takes, as far as the machine tells."""

from __future__ import annotations

import resource
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

_POWERCAP = Path("/sys/class/powercap")


def restart_peak_memory() -> None:
    """From now on, peaks are those of what follows; without Linux, those of the whole process."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    gpu = _gpu_in_use()
    if gpu is not None:
        gpu.reset_peak_memory_stats()


def peak_memory() -> int:
    """The largest resident memory of this process, in bytes."""
    with suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/self/status").read_text().splitlines()
        return 1024 * int(next(line for line in lines if line.startswith("VmHWM:")).split()[1])
    unit = 1 if sys.platform == "darwin" else 1024
    return unit * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def peak_gpu_memory() -> int | None:
    """The largest memory that PyTorch had allocated on this process's GPU, in bytes; None if it
    has not used one."""
    gpu = _gpu_in_use()
    return None if gpu is None else gpu.max_memory_allocated()


def _gpu_in_use() -> Any:
    """The module ``torch.cuda`` if this process has used a GPU; torch is not imported for it."""
    torch = sys.modules.get("torch")
    return torch.cuda if torch is not None and torch.cuda.is_initialized() else None


class EnergyMeter:
    """The energy of CPU packages (RAPL, where its counters can be read) and of a GPU (NVML, if the
    package nvidia-ml-py is installed), all that runs on them included.

    :meth:`sample` is called at least every minute: RAPL's counters begin again after some minutes.
    """

    def __init__(self, powercap: Path = _POWERCAP):
        self._packages = _rapl_counters(powercap)
        self._gpus = _nvml_counters()
        self._one_at_a_time = threading.Lock()

    def sample(self) -> None:
        with self._one_at_a_time:
            for counter in (*self._packages, *self._gpus.values()):
                counter.sample()

    def joules(self) -> tuple[float | None, str]:
        """The energy since the meter was made, and of what it is; None if nothing is measured."""
        self.sample()
        counters = [("CPU (RAPL)", counter) for counter in self._packages] + self._gpu()
        working = [(name, counter) for name, counter in counters if not counter.failed]
        if not working:
            return None, ""
        names = dict.fromkeys(name for name, _ in working)
        return round(sum(counter.joules for _, counter in working), 3), ", ".join(names)

    def _gpu(self) -> list[tuple[str, _Counter]]:
        gpu = _gpu_in_use()
        if gpu is None:
            return []
        uuid = getattr(gpu.get_device_properties(gpu.current_device()), "uuid", "")
        counter = self._gpus.get(f"GPU-{uuid}")  # NVML's name of it
        return [(f"{gpu.get_device_name()} (NVML)", counter)] if counter else []


class _Counter:
    """A counter of energy; ``wraps``: the value after which it starts again, 0 if it does not."""

    def __init__(self, read: Callable[[], int], unit: float, wraps: int = 0):
        self._read, self._unit, self._wraps = read, unit, wraps
        self._last, self._total, self.failed = 0, 0, False
        self.sample()
        self._total = 0

    @property
    def joules(self) -> float:
        return self._unit * self._total

    def sample(self) -> None:
        try:
            value = self._read()
        except Exception:  # NVML has errors of its own
            self.failed = True
            return
        step = value - self._last
        self._total += step % self._wraps if self._wraps else step
        self._last = value


def _rapl_counters(powercap: Path) -> list[_Counter]:
    """Of each CPU package, in microjoules; the domains inside it are a part of it."""
    found = []
    for domain in sorted(powercap.glob("intel-rapl:*")):
        with suppress(OSError, ValueError):
            if (domain / "name").read_text().startswith("package"):
                file = domain / "energy_uj"
                file.read_text()  # root alone may, on many machines
                wraps = int((domain / "max_energy_range_uj").read_text()) + 1
                found.append(_Counter(lambda file=file: int(file.read_text()), 1e-6, wraps))
    return found


def _nvml_counters() -> dict[str, _Counter]:
    """Of each GPU that has one, in millijoules, by the GPU's UUID."""
    try:
        import pynvml  # pyright: ignore[reportMissingImports]

        pynvml.nvmlInit()
        handles = map(pynvml.nvmlDeviceGetHandleByIndex, range(pynvml.nvmlDeviceGetCount()))
        return {_text(pynvml.nvmlDeviceGetUUID(h)): _of_gpu(pynvml, h) for h in handles}
    except Exception:  # no package, no driver, or a driver without it
        return {}


def _of_gpu(nvml: Any, handle: Any) -> _Counter:
    return _Counter(lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(handle), 1e-3)


def _text(name: str | bytes) -> str:
    return name.decode() if isinstance(name, bytes) else name
