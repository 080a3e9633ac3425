"""How many runs side by side pay: runs per hour on the cores of this machine, or on a GPU.

    python tools/packing.py                                           # on the cores, k = 1, 2, 4
    python tools/packing.py digits_s4d model.d_model=128 --at-most 8
    python tools/packing.py --gpu --at-most 16                        # k runs share each GPU
    python tools/packing.py --gpu --mps --at-most 16                  # the same through MPS

For each k, k runs of the same config with different seeds are started at the same time, as the
launcher ``local`` starts them, and timed from the start to the end of the last one. Importing torch
is not counted: a run before has done it. ``--mps`` starts NVIDIA's multi-process service for the
time of the measurement, which lets kernels of several processes run at once.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

from ssmbench import jsonio
from ssmbench.errors import UsageError
from ssmbench.launchers.local import Local
from ssmbench.launchers.slots import Config, available_cores, visible_gpus
from ssmbench.library.configs import read_run
from ssmbench.runs.run import Run

#: A smaller k is taken if it gives at least this share of the best rate.
_NEARLY = 0.95


@dataclass(frozen=True)
class Packed:
    """``side_by_side`` runs took ``seconds`` in all."""

    side_by_side: int
    seconds: float

    @property
    def per_hour(self) -> float:
        return 3600 * self.side_by_side / self.seconds


def counts(at_most: int) -> list[int]:
    """1, 2, 4, ... and ``at_most`` itself."""
    powers = [2**n for n in range(at_most.bit_length())]
    return sorted({*(k for k in powers if k <= at_most), at_most})


def pays(measured: list[Packed]) -> Packed:
    """The smallest number of runs that is nearly as fast as the fastest."""
    best = max(packed.per_hour for packed in measured)
    return next(packed for packed in measured if packed.per_hour >= _NEARLY * best)


def measure(config: str, overrides: list[str], k: int, gpus: int, folder: Path) -> Packed:
    """Time ``k`` runs, or ``k`` for each GPU, side by side.

    Raises:
        UsageError: a run did not complete; the message gives its reason.
    """
    number = k * max(gpus, 1)
    root = folder / f"{k}"
    runs = [
        Run.of(read_run(config, [*overrides, f"seed={seed}"]).config, root, f"{k}")
        for seed in range(number)
    ]
    launcher = Local(Config(runs_per_gpu=k) if gpus else Config(jobs=k))
    started = time.perf_counter()
    for run, state in launcher.launch(runs):
        if state not in ("finished", "diverged"):
            raise UsageError(f"{run.folder.path}: {state}: {run.folder.reason}")
    return Packed(number, time.perf_counter() - started)


@contextmanager
def multi_process_service() -> Iterator[None]:
    """NVIDIA's MPS, in a folder of its own; processes started meanwhile use it."""
    with tempfile.TemporaryDirectory(prefix="mps.") as place:
        for name in ("PIPE", "LOG"):
            os.environ[f"CUDA_MPS_{name}_DIRECTORY"] = place
        subprocess.run(["nvidia-cuda-mps-control", "-d"], check=True)
        try:
            yield
        finally:
            subprocess.run(["nvidia-cuda-mps-control"], input="quit\n", text=True, check=False)


def _report(measured: list[Packed], gpus: int) -> None:
    single = measured[0].per_hour
    print("side by side  seconds  runs per hour  gain")
    for packed in measured:
        gain = packed.per_hour / single
        print(
            f"{packed.side_by_side:12d}  {packed.seconds:7.1f}  {packed.per_hour:13.0f}  {gain:.2f}"
        )
    best = pays(measured).side_by_side
    option = f"runs_per_gpu: {best // gpus}" if gpus else f"jobs: {best}"
    print(f"launcher: {{name: local, {option}}}")


def _measure_all(given: argparse.Namespace) -> list[Packed]:
    gpus = len(visible_gpus()) if given.gpu else 0
    if given.gpu and not gpus:
        raise UsageError("there is no GPU")
    device = ["trainer.devices=1", f"trainer.accelerator={'gpu' if gpus else 'cpu'}"]
    overrides = [*device, *given.overrides]
    with tempfile.TemporaryDirectory(prefix="packing.") as folder:
        place = Path(folder)
        measure(given.config, overrides, 1, min(gpus, 1), place / "before")
        found = [measure(given.config, overrides, k, gpus, place) for k in counts(given.at_most)]
    if given.json:
        print(jsonio.dumps([asdict(packed) | {"per_hour": packed.per_hour} for packed in found]))
    else:
        _report(found, gpus)
    return found


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("config", nargs="?", default="digits_s4d", help="a run config")
    parser.add_argument("overrides", nargs="*", help="key=value")
    parser.add_argument("--at-most", type=int, default=max(4, available_cores()))
    parser.add_argument("--gpu", action="store_true")
    parser.add_argument("--mps", action="store_true")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    try:
        if given.mps:
            with multi_process_service():
                _measure_all(given)
        else:
            _measure_all(given)
    except (UsageError, OSError, subprocess.CalledProcessError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
