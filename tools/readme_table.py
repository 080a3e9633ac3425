"""Put measured tables into README.md: a finished quickstart's, and the committed benchmarks'.

tools/quickstart && .venv/bin/python tools/readme_table.py outputs/quickstart
.venv/bin/ssmbench bench scans -o benchmarks/scans-cpu.json
.venv/bin/python tools/readme_table.py
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from ssmbench import jsonio
from ssmbench.bench.scans import gpu_cases
from ssmbench.report.collect import collect
from ssmbench.report.statistics import rows
from ssmbench.report.tables import markdown_table, source_line
from ssmbench.report.write import write_report

PROJECT = Path(__file__).resolve().parent.parent
HEADER = (
    "| operation | B, L, channels, states | backend | forward ms | forward + backward ms |",
    "| --- | --- | --- | ---: | ---: |",
)


def quickstart(suite: Path) -> str:
    """Tables and plot of a suite's folder; copies its report to docs/quickstart."""
    files = write_report(suite)
    docs = PROJECT / "docs" / "quickstart"
    docs.mkdir(parents=True, exist_ok=True)
    for file in files.values():
        shutil.copy(file, docs / file.name)
    records = collect(suite)
    table = rows(records)
    parts = []
    for task in dict.fromkeys(row.task for row in table):
        mine = [row for row in table if row.task == task]
        parts.append(f"**{task}.** {source_line(records, task)}\n\n{markdown_table(mine)}")
    parts.append("![test score against verified gain](docs/quickstart/score_vs_gain.png)")
    return "\n".join(parts)


def benchmarks() -> str:
    """Medians of every committed benchmark file; empty cells, with the reason, without a GPU's."""
    parts = []
    measured = set()
    for file in sorted((PROJECT / "benchmarks").glob("scans-*.json")):
        results = jsonio.loads(file.read_text())
        measured |= {r["backend"] for r in results}
        lines = [f"{results[0]['device']} ([all figures](benchmarks/{file.name})):", "", *HEADER]
        for r in results:
            size = f"{r['batch']}, {r['length']}, {r['channels']}, {r['states']}"
            times = f"{r['forward_ms']:.1f} | {r['both_ms']:.1f}"
            lines.append(f"| {r['operation']} | {size} | {r['backend']} | {times} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts if "triton" in measured else [*parts, missing_gpu()])


def missing_gpu() -> str:
    """The rows that a GPU would fill."""
    lines = ["GPU: no figures, because no GPU was available.", "", *HEADER]
    for case in gpu_cases():
        size = f"{case.batch}, {case.length}, {case.channels}, {case.states}"
        lines.append(f"| {case.operation} | {size} | triton | | |")
    return "\n".join(lines)


def replace(name: str, text: str) -> None:
    """Put ``text`` between the README's two markers of that name."""
    start = f"<!-- {name}: written by tools/readme_table.py -->"
    end = f"<!-- {name} end -->"
    readme = PROJECT / "README.md"
    before, _, rest = readme.read_text().partition(start)
    _, _, after = rest.partition(end)
    readme.write_text(f"{before}{start}\n\n{text}\n\n{end}{after}")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        replace("quickstart", quickstart(Path(sys.argv[1])))
    replace("benchmarks", benchmarks())
