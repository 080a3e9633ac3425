"""Write tables into README.md and docs: of the quickstart suite and of the stored benchmarks.

tools/quickstart && .venv/bin/python tools/doc_tables.py outputs/quickstart
.venv/bin/ssmbench bench scans -o benchmarks/scans-cpu.json
.venv/bin/python tools/token_cost.py -o benchmarks/tokens-cpu.json
.venv/bin/python tools/kernel_counts.py -o benchmarks/counts.json
.venv/bin/python tools/layer_launches.py -o benchmarks/launches.json
.venv/bin/python tools/compile_table.py --layers 1 --json benchmarks/compile-cpu.json
.venv/bin/python tools/doc_tables.py
"""

from __future__ import annotations

import re
import shutil
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ssmbench import jsonio
from ssmbench.bench.cases import gpu_cases
from ssmbench.bench.standing import Standing, size_of, standings
from ssmbench.report.write import write_report

PROJECT = Path(__file__).resolve().parent.parent
README = PROJECT / "README.md"
BENCHMARKS_PAGE = PROJECT / "docs" / "benchmarks.md"
QUICKSTART = PROJECT / "docs" / "quickstart"

#: The task and the columns of the report's table that the README shows.
README_TASK = "digits"
README_COLUMNS = ("variant", "discretizer", "score", "declared", "verified", "attacked", "radius")

BENCHMARK_HEADER = (
    "| operation | B, L, channels, states | backend | forward ms | forward + backward ms "
    "| bytes kept | bytes at peak |",
    "| --- | --- | --- | ---: | ---: | ---: | ---: |",
)
SCANS = PROJECT / "benchmarks" / "scans-cpu.json"
STANDING_HEADER = (
    "| operation | B, L, channels, states | ms | bytes kept | best peer | its ms "
    "| its bytes | ratio |",
    "| --- | --- | ---: | ---: | --- | ---: | ---: | ---: |",
)

TOKENS = PROJECT / "benchmarks" / "tokens-cpu.json"
NOT_MEASURED = "Not measured yet."

COUNTS = PROJECT / "benchmarks" / "counts.json"
COUNTS_HEADER = (
    "| kernel | blocks | warps | builds | instructions | in the innermost loops | registers "
    "| spilled bytes | shared bytes |",
    f"| --- | --- |{' ---: |' * 7}",
)

LAUNCHES = PROJECT / "benchmarks" / "launches.json"
LAUNCHES_HEADER = (
    "| parametrization | kernels forward | operations | bytes | kernels backward | operations "
    "| bytes |",
    "| --- | --- | ---: | ---: | --- | ---: | ---: |",
)

COMPILED = PROJECT / "benchmarks" / "compile-cpu.json"
COMPILED_HEADER = (
    "| parametrization | graphs | graph breaks | difference | compiled in (CPU s) | step (CPU ms) "
    "| compiled step | gain |",
    "| --- |" + " ---: |" * 7,
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
            times = f"{r['forward_ms']:.1f} | {r['both_ms']:.1f}"
            memory = f"{_bytes(r, 'kept_bytes')} | {_bytes(r, 'peak_bytes')}"
            cells = (r["operation"], size_of(r), r["backend"], times, memory)
            lines.append(f"| {' | '.join(cells)} |")
        parts.append("\n".join(lines))
    return "\n\n".join(parts if "triton" in measured else [*parts, missing_gpu()])


def missing_gpu() -> str:
    """The rows for GPU figures, empty."""
    lines = ["GPU: no figures, because no GPU was available.", "", *BENCHMARK_HEADER]
    for case in gpu_cases():
        size = f"{case.batch}, {case.length}, {case.channels}, {case.states}"
        lines.append(f"| {case.operation} | {size} | triton | | | | |")
    return "\n".join(lines)


def _bytes(row: Mapping[str, Any], name: str) -> str:
    """Empty where it was not measured: by older versions, and for what makes too many tensors."""
    return "" if row.get(name) is None else f"{row[name]:.0f}"


def beside_peers() -> str:
    """The fastest of our scans beside the fastest peer, at every size of every operation."""
    return _standing_table(standings(jsonio.loads(SCANS.read_text())))


def readme_speed() -> str:
    """The first size of every layer, and of the scans that a time-varying one consists of."""
    found: dict[str, Standing] = {}
    for standing in standings(jsonio.loads(SCANS.read_text())):
        if not standing.operation.startswith("linear scan") or "varies" in standing.operation:
            found.setdefault(standing.operation, standing)
    return _standing_table(found.values())


def _standing_table(found: Iterable[Standing]) -> str:
    lines: list[str] = [*STANDING_HEADER]
    for s in found:
        if s.peer is None:
            continue
        ours, others = (f"{r['both_ms']:.1f} | {_bytes(r, 'kept_bytes')}" for r in (s.ours, s.peer))
        cells = (s.operation, s.size, ours, s.peer["backend"], others, f"{s.ratio:.2g}")
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def token_costs() -> str:
    """Cost of a token by length, for every parametrization."""
    if not TOKENS.exists():
        return NOT_MEASURED
    rows = jsonio.loads(TOKENS.read_text())
    lengths = list(rows[0]["nanoseconds"])
    titles = [f"L = {int(n):,}" for n in lengths]
    columns = ("parametrization", *titles, "growth", "fixed", "bytes kept", "bytes at peak")
    lines = [f"{rows[0]['device']}:", "", f"| {' | '.join(columns)} |"]
    lines.append(f"| --- |{' ---: |' * (len(columns) - 1)}")
    for row in rows:
        costs = [f"{cost:,.0f}" for cost in row["nanoseconds"].values()]
        ratios = [f"{row[name]:.2f}" for name in ("growth", "fixed")]
        memory = [f"{row[name][lengths[-1]]:.0f}" for name in ("kept", "peak")]
        cells = (f"`{row['parametrization']}`", *costs, *ratios, *memory)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def kernel_counts() -> str:
    """Each kernel by its blocks: the most over its flags and architectures, from counts.json."""
    if not COUNTS.exists():
        return NOT_MEASURED
    rows = jsonio.loads(COUNTS.read_text())["kernels"]
    groups: dict[tuple[str, str, int], list[Any]] = {}
    for row in rows:
        groups.setdefault((row["kernel"], row["blocks"], row["warps"]), []).append(row)
    architectures = " and ".join(sorted({row["arch"] for row in rows}))
    link = f"[what each loop consists of](../benchmarks/{COUNTS.name})"
    lines = [f"{len(rows)} builds, for {architectures} ({link}):", "", *COUNTS_HEADER]
    for (kernel, blocks, warps), builds in groups.items():
        most = max(builds, key=lambda row: row["instructions"])
        inner = max((loop["depth"] for loop in most["loops"]), default=0)
        loops = [loop for loop in most["loops"] if loop["depth"] == inner]
        inside = " + ".join(str(loop["instructions"]) for loop in loops)
        used = [max(row[name] for row in builds) for name in ("registers", "spilled", "shared")]
        cells = (f"`{kernel}`", blocks, warps, len(builds), most["instructions"], inside, *used)
        lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


def launches() -> str:
    """Launches of a layer of every parametrization, and the bytes of the kernels' tensors."""
    if not LAUNCHES.exists():
        return NOT_MEASURED
    rows = jsonio.loads(LAUNCHES.read_text())
    size = ", ".join(str(rows[0][name]) for name in ("batch", "length", "channels"))
    lines = [f"B, L, channels: {size}", "", *LAUNCHES_HEADER]
    for row in rows:
        cells = [f"`{row['parametrization']}`"]
        for way in (row["forward"], row["backward"]):
            kernels = (f"{n} `{name}`" for name, n in way["kernels"].items())
            cells += [", ".join(kernels), str(way["pytorch"]), f"{way['kernel_bytes']:.0f}"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def tables() -> list[tuple[Path, str, str]]:
    """Every table: its page, its name there, and its text."""
    measured = [(BENCHMARKS_PAGE, "compiled", compiled())] if COMPILED.exists() else []
    return [
        (README, "quickstart", readme_table()),
        (README, "speed", readme_speed()),
        (BENCHMARKS_PAGE, "benchmarks", benchmarks()),
        (BENCHMARKS_PAGE, "peers", beside_peers()),
        (BENCHMARKS_PAGE, "tokens", token_costs()),
        (BENCHMARKS_PAGE, "counts", kernel_counts()),
        (BENCHMARKS_PAGE, "launches", launches()),
        *measured,
    ]


def compiled() -> str:
    """What ``tools/compile_table.py`` measured, with what it was measured on."""
    found = jsonio.loads(COMPILED.read_text())
    about, rows = found["about"], found["rows"]
    title = f"{about['device']}; Python {about['python']}, PyTorch {about['torch']}"
    lines = [f"{title} ([all figures](../benchmarks/{COMPILED.name})):", "", *COMPILED_HEADER]
    for name, r in rows.items():
        counts = f"`{name}` | {r['graphs']} | {r['breaks']} | {r['difference']:.0e}"
        times = f"{1e3 * r['eager_s']:.1f} | {1e3 * r['compiled_s']:.1f}"
        gain = f"{r['eager_s'] / r['compiled_s']:.2f}"
        lines.append(f"| {counts} | {r['compile_s']:.0f} | {times} | {gain} |")
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
    for page, name, text in tables():
        page.write_text(replaced(page, name, text))
