"""``ssmbench export``: the network of a run in files that run without ssmbench."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ssmbench.cli.printing.exports import print_export
from ssmbench.cli.verb import PATH_ARGUMENT, AsJson, Output
from ssmbench.errors import require


def export(
    run: Annotated[Path, typer.Argument(help="A run's folder.", **PATH_ARGUMENT)],
    npz: Annotated[bool, typer.Option("--npz", help="Plain arrays, for NumPy alone.")] = False,
    c: Annotated[bool, typer.Option("--c", help="One C99 file, for microcontrollers.")] = False,
    onnx: Annotated[bool, typer.Option("--onnx", help="Two ONNX graphs.")] = False,
    torch_export: Annotated[
        bool, typer.Option("--torch-export", help="Two programs of torch.export.")
    ] = False,
    format: Annotated[
        str | None, typer.Option(help="Another format, as in `ssmbench list exporters`.")
    ] = None,
    weights: Annotated[
        str, typer.Option(help="How matrices are stored: float32, float16 or int8.")
    ] = "float32",
    name: Annotated[
        str, typer.Option(help="The name of the files, and of functions and types in C.")
    ] = "network",
    output: Output = None,
    as_json: AsJson = False,
) -> None:
    """Write the trained network of a run to files that run without ssmbench.

    A step function (u, state) -> (y, state) and a whole-sequence function, checked against the
    network's own stream, with the verified gain of the exported matrices. The files are written to
    the folder `export` in the run's folder, or to --output.
    """
    from ssmbench.library.exports import export_run

    flags = {"npz": npz, "c": c, "onnx": onnx, "torch_export": torch_export}
    chosen = [name for name, given in flags.items() if given] + ([format] if format else [])
    known = "--npz, --c, --onnx, --torch-export or --format NAME"
    require(len(chosen) == 1, f"export: choose one format: {known}")
    report = export_run(run, chosen[0], weights=weights, output=output, name=name)
    print_export(report, as_json)
