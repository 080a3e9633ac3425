"""Write tables into README.md and docs: of the quickstart suite and of the stored benchmarks.

tools/quickstart && .venv/bin/python tools/doc_tables.py outputs/quickstart
.venv/bin/ssmbench bench scans -o benchmarks/scans-cpu.json
.venv/bin/python tools/doc_tables.py
"""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

from ssmbench import jsonio
from ssmbench.bench.cases import gpu_cases
from ssmbench.report.write import write_report

PROJECT = Path(__file__).resolve().parent.parent
README = PROJECT / "README.md"
BENCHMARKS_PAGE = PROJECT / "docs" / "benchmarks.md"
QUICKSTART = PROJECT / "docs" / "quickstart"

#: The task and the columns of the report's table that the README shows.
README_TASK = "digits"
README_COLUMNS = ("variant", "discretizer", "score", "declared", "verified", "attacked", "radius")

BENCHMARK_HEADER = (
    "| operation | B, L, channels, states | backend | forward ms | forward + backward ms |",
    "| --- | --- | --- | ---: | ---: |",
)


def keep_report(suite: Path) -> None:
    """Write a suite's report again and copy it to docs/quickstart, without the page of 2 MB."""
    QUICKSTART.mkdir(parents=True, exist_ok=True)
    for file in write_report(suite).values():
        if file.suffix != ".html":
            shutil.copy(file, QUICKSTART / file.name)


def readme_table() -> str:
    """Selected columns of one task's tables in the quickstart report in docs."""
    _, _, section = (QUICKSTART / "report.md").read_text().partition(f"\n## {README_TASK}\n")
    found: dict[tuple[str, ...], dict[str, str]] = {}
    for table in re.findall(r"(?:^\|.*\n)+", section.partition("\n## ")[0], re.MULTILINE):
        header, _, *lines = [line.strip("| ").split(" | ") for line in table.splitlines()]
        for cells in lines:
            row = dict(zip(header, cells, strict=True))
            key = tuple(row.get(name, "") for name in README_COLUMNS[:2])
            if all(key):
                found[key] = row | found.get(key, {})
    words = " --- |" * 3 + " ---: |" * (len(README_COLUMNS) - 3)
    rows = [[row[name] for name in README_COLUMNS] for row in found.values()]
    lines = [f"| {' | '.join(cells)} |" for cells in (README_COLUMNS, *rows)]
    return "\n".join([lines[0], f"|{words}", *lines[1:]])


def benchmarks() -> str:
    """Medians of every benchmark file; empty rows, with the reason, for missing GPU figures."""
    parts = []
    measured = set()
    for file in sorted((PROJECT / "benchmarks").glob("scans-*.json")):
        results = jsonio.loads(file.read_text())
        measured |= {r["backend"] for r in results}
        title = f"{results[0]['device']} ([all figures](../benchmarks/{file.name})):"
        lines = [title, "", *BENCHMARK_HEADER]
        for r in results:
            size = f"{r['batch']}, {r['length']}, {r['channels']}, {r['states']}"
            times = f"{r['forward_ms']:.1f} | {r['both_ms']:.1f}"
            lines.append(f"| {r['operation']} | {size} | {r['backend']} | {times} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts if "triton" in measured else [*parts, missing_gpu()])


def missing_gpu() -> str:
    """The rows for GPU figures, empty."""
    lines = ["GPU: no figures, because no GPU was available.", "", *BENCHMARK_HEADER]
    for case in gpu_cases():
        size = f"{case.batch}, {case.length}, {case.channels}, {case.states}"
        lines.append(f"| {case.operation} | {size} | triton | | |")
    return "\n".join(lines)


def replaced(page: Path, name: str, text: str) -> str:
    """The page with ``text`` between its two markers called ``name``."""
    start = f"<!-- {name}: written by tools/doc_tables.py -->"
    end = f"<!-- {name} end -->"
    before, _, rest = page.read_text().partition(start)
    _, _, after = rest.partition(end)
    return f"{before}{start}\n\n{text}\n\n{end}{after}"


if __name__ == "__main__":
    if len(sys.argv) > 1:
        keep_report(Path(sys.argv[1]))
    README.write_text(replaced(README, "quickstart", readme_table()))
    BENCHMARKS_PAGE.write_text(replaced(BENCHMARKS_PAGE, "benchmarks", benchmarks()))
