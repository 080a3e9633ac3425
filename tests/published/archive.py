"""Data sets of the UEA archive in their layout, with their channels and classes and few short
series: what a network's size depends on."""

from __future__ import annotations

from pathlib import Path

#: Channels and classes, from the archive's description (arXiv 1811.00075, table 1).
UEA = {
    "EigenWorms": (6, 5),
    "SelfRegulationSCP1": (6, 2),
    "SelfRegulationSCP2": (7, 2),
    "EthanolConcentration": (3, 4),
    "Heartbeat": (61, 2),
    "MotorImagery": (64, 2),
}


def write_archive(folder: Path) -> None:
    """Both parts of every data set, eight series of four steps in each class."""
    for name, (channels, classes) in UEA.items():
        (folder / name).mkdir()
        for part in ("TRAIN", "TEST"):
            labels = "abcde"[:classes]
            head = [f"@problemName {name}", "@univariate false"]
            head += [f"@classLabel true {' '.join(labels)}", "@data"]
            rows = [":".join(["1,2,3,4"] * channels + [label]) for label in labels * 8]
            (folder / name / f"{name}_{part}.ts").write_text("\n".join(head + rows) + "\n")
