"""Put the tables and the plot of a finished quickstart into README.md and docs/quickstart.

tools/quickstart && .venv/bin/python tools/readme_table.py outputs/quickstart
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from ssmbench.suite.report import collect, markdown_table, source_line, write_report
from ssmbench.suite.statistics import rows

START, END = "<!-- quickstart: written by tools/readme_table.py -->", "<!-- quickstart end -->"


def main() -> None:
    suite = Path(sys.argv[1] if len(sys.argv) > 1 else "outputs/quickstart")
    project = Path(__file__).resolve().parent.parent
    files = write_report(suite)
    docs = project / "docs" / "quickstart"
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
    readme = project / "README.md"
    before, _, rest = readme.read_text().partition(START)
    _, _, after = rest.partition(END)
    readme.write_text(before + START + "\n\n" + "\n".join(parts) + "\n\n" + END + after)


if __name__ == "__main__":
    main()
