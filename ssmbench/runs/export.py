"""Write the frozen network of a run to files that run without ssmbench, and check them."""

from __future__ import annotations

import contextlib
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from ssmbench import jsonio, registry
from ssmbench.config import build, fingerprint, resolve_component
from ssmbench.errors import UsageError, WriteError, require
from ssmbench.exporters.base import Exported, Exporter
from ssmbench.nn.freeze import freeze
from ssmbench.nn.program import program_of
from ssmbench.program import Program, stored_as
from ssmbench.results import Record
from ssmbench.runs.export_check import Agreement, Truth, agreement, check_network
from ssmbench.runs.exported_gains import exported_gains
from ssmbench.runs.load import TrainedRun, load_trained
from ssmbench.runs.run import Run

#: The folder in a run's folder in which its exports are written.
EXPORTS = "export"
#: What follows the name of the network in the names of the files, by how weights are stored.
SUFFIXES = {"float32": "", "float16": "_float16", "int8": "_int8"}
#: Names of networks: the functions in C begin with them.
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
#: Of the metadata and the arrays.
FORMAT_VERSION = 1


@dataclass(frozen=True)
class ExportRequest:
    """``format``: the name of an exporter, with its ``options``. ``weights``: how matrices are
    stored, float32, float16 or int8. ``name``: of the network, in the names of files and of
    functions in C."""

    format: str
    weights: str = "float32"
    options: Mapping[str, Any] = field(default_factory=dict)
    name: str = "network"


@dataclass(frozen=True)
class ExportReport(Record):
    """What was written, and how closely it agrees with the network.

    ``difference``: the largest difference of a prediction from the program in double precision;
    ``of_weights``: that of the program from the network, which is due to the stored weights; both
    relative to the largest prediction. ``metadata``: as in the files.
    """

    files: tuple[str, ...]
    difference: float
    of_weights: float
    metadata: dict[str, Any]


def export_run(folder: Path, request: ExportRequest, output: Path | None = None) -> ExportReport:
    """Write the trained network of a run to ``output``, a folder; None for ``export`` in the run's.

    The files are written beside their place, run, and compared with the network's own stream;
    only then do they replace what is there.

    Raises:
        UsageError: an unknown format; what it needs is missing; the network cannot be streamed, or
            a part of it has no form in plain operations; a file there is that of another run; or
            the exported network differs from the network's stream.
    """
    require(
        bool(_NAME.fullmatch(request.name)),
        f"export: the name {request.name!r}; allowed: a letter, then letters, digits and _",
    )
    exporter = _exporter(request)
    trained = load_trained(folder)
    dropped = trained.config.sampling.dropped
    require(
        not dropped,
        f"export: the network reads the time between samples (sampling.dropped={dropped:g}), and "
        "an exported step takes none; allowed: sampling.dropped=0",
    )
    frozen = freeze(trained.model)
    whole = program_of(frozen, trained.task.sizes)
    program = stored_as(whole, request.weights)
    truth = check_network(frozen, whole)
    metadata = _metadata(folder, trained, program, request, truth)
    place = folder / EXPORTS if output is None else output
    try:
        with _folder(place):
            files, found = _write(exporter, program, metadata, truth, place, request.name)
    except OSError as error:
        if isinstance(error, WriteError):
            raise UsageError(str(error)) from None
        raise UsageError(str(WriteError.of(place, error))) from None
    return ExportReport(
        tuple(map(str, files)), found.difference, metadata["weights"]["difference"], metadata
    )


@contextlib.contextmanager
def _folder(place: Path) -> Iterator[None]:
    """The folder ``place``, made where it is missing; then removed if nothing was written to it."""
    made = not place.exists()
    place.mkdir(parents=True, exist_ok=True)
    try:
        yield
    finally:
        if made:
            with contextlib.suppress(OSError):  # it is not empty
                place.rmdir()


def read_exported(path: Path) -> Exported:
    """The network in exported files, by the name of one of them.

    Raises:
        UsageError: there is no such file, no format has its ending, or it cannot be read.
    """
    require(path.is_file(), f"{path}: no such file")
    for entry in registry.exporters:
        for ending in entry.factory.endings:
            if path.name.endswith(ending):
                exporter = entry.build()
                _require_nothing_missing(exporter, entry.name)
                stem = path.name.removesuffix(ending)
                files = [path.with_name(stem + e) for e in exporter.endings]
                for file in files:
                    require(file.is_file(), f"{file}: no such file")
                return exporter.read(files)
    endings = sorted(ending for entry in registry.exporters for ending in entry.factory.endings)
    raise UsageError(f"{path}: no exported network; allowed: files that end in {endings}")


def _exporter(request: ExportRequest) -> Exporter:
    component = {"name": request.format, **request.options}
    resolved = resolve_component(registry.exporters, component, "export")
    exporter = build(registry.exporters, resolved)
    _require_nothing_missing(exporter, resolved["name"])
    return exporter


def _require_nothing_missing(exporter: Exporter, name: str) -> None:
    missing = exporter.missing()
    require(not missing, f"export: the format {name} {missing}")


def _write(
    exporter: Exporter,
    program: Program,
    metadata: dict[str, Any],
    truth: Truth,
    place: Path,
    name: str,
) -> tuple[list[Path], Agreement]:
    stem = name + SUFFIXES[metadata["weights"]["stored"]]
    names = [stem + ending for ending in exporter.endings]
    _require_own([place / name for name in names], exporter, metadata)
    with tempfile.TemporaryDirectory(prefix=".export.", dir=place) as drafts:
        files = [Path(drafts, name) for name in names]
        exporter.write(program, metadata, files)
        found = agreement(exporter.read(files), program, truth)
        for file in files:
            shutil.move(file, place / file.name)
    return [place / name for name in names], found


def _require_own(files: list[Path], exporter: Exporter, metadata: dict[str, Any]) -> None:
    """Refuse to replace the export of another run; other files are replaced."""
    if not all(file.is_file() for file in files):
        return
    try:
        there = exporter.read(files).metadata.get("fingerprint")
    except UsageError:
        return
    require(
        there in (None, metadata["fingerprint"]),
        f"{files[0]}: the export of another run ({there}); choose another --name or --output",
    )


def _metadata(
    folder: Path, trained: TrainedRun, program: Program, request: ExportRequest, truth: Truth
) -> dict[str, Any]:
    run = Run.load(folder)
    metadata = {
        "ssmbench": version("ssmbench"),
        "format_version": FORMAT_VERSION,
        "fingerprint": fingerprint(run.config),
        "checkpoint": trained.checkpoint.name,
        "config": dict(run.config),
        "input": _input(trained, program),
        "output": {"width": program.outputs, "per": "step" if program.per_step else "sequence"},
        "states": program.states,
        "functions": _shapes(program),
        "weights": {"stored": request.weights, "difference": truth.difference_of(program)},
        "gains": exported_gains(trained.model, program, trained.task.sizes.length, request.weights),
    }
    return jsonio.loads(jsonio.dumps(metadata))


def _input(trained: TrainedRun, program: Program) -> dict[str, Any]:
    if program.vocabulary is not None:
        return {"kind": "token", "vocabulary": program.vocabulary}
    samples = trained.model.framing.samples
    return {"kind": "numbers", "width": program.width, "samples": samples}


def _shapes(program: Program) -> dict[str, Any]:
    """The shapes of the step and of the sequence function."""
    tokens, per_step = program.vocabulary is not None, program.per_step
    state, y = ["B", program.states], ["B", program.outputs]
    width = [] if tokens else [program.width]
    return {
        "step": {"u": ["B", *width], "state": state, "y": y},
        "sequence": {
            "u": ["B", "L", *width],
            "state": state,
            "y": ["B", "L", program.outputs] if per_step else y,
        },
    }
