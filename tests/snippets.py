"""The blocks of code in README.md, CONTRIBUTING.md and docs/*.md, and what tests do with each."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md")] + sorted(ROOT.glob("docs/*.md"))
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Block:
    """A fenced block of a page."""

    page: str
    language: str
    text: str
    line: int

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def head(self) -> str:
        """Its first line, by which tests know it."""
        return self.text.partition("\n")[0]


def blocks(*languages: str) -> list[Block]:
    """The blocks of all pages in some languages; without arguments in every one."""
    return [block for page in PAGES for block in blocks_of(page, languages)]


def blocks_of(page: Path, languages: tuple[str, ...]) -> Iterator[Block]:
    text, name = page.read_text(), page.relative_to(ROOT).as_posix()
    for found in _FENCE.finditer(text):
        if not languages or found[1] in languages:
            yield Block(name, found[1], found[2], text[: found.start()].count("\n") + 1)


def commands(block: Block) -> list[list[str]]:
    """The command lines of a block of bash as words, without comments; continued lines joined."""
    lines = block.text.replace("\\\n", " ").splitlines()
    words = [shlex.split(line, comments=True) for line in lines]
    return [line for line in words if line]
