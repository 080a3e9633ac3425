"""The Arena's ListOps files: tab-separated, one expression and its value in each line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from ssmbench.errors import UsageError
from ssmbench.tasks.lra.listops_trees import CLOSE, DIGITS, FIRST_DIGIT, FIRST_OPERATOR, OPERATORS
from ssmbench.tasks.lra.tokens import END, TokenSequences

FILES = {"train": "basic_train.tsv", "val": "basic_val.tsv", "test": "basic_test.tsv"}
_HEADER = b"Source\tTarget"
#: Between the tokens of an expression; parentheses only group arguments in pairs.
_LEFT_OUT = b"( )"
_SYMBOLS = b"0123456789abcd]"  # operators are written as one letter first
_TOKENS = bytes([*range(FIRST_DIGIT, FIRST_DIGIT + DIGITS), *range(FIRST_OPERATOR, CLOSE), CLOSE])
_TABLE = bytes.maketrans(_SYMBOLS, _TOKENS)
_DIGITS = {b"%d" % digit: digit for digit in range(DIGITS)}


def read_listops(path: Path) -> TokenSequences:
    """The expressions of a file in order, END after each, with their values 0..9.

    Raises:
        UsageError: the file cannot be read, or a line is not an expression and its value; the
            message names the line.
    """
    sequences, targets = [], []
    for tokens, value in _lines(path):
        sequences.append(tokens)
        targets.append(value)
    if not sequences:
        raise UsageError(f"{path}: no expression after the header")
    return TokenSequences.of(sequences, targets)


def _lines(path: Path) -> Iterator[tuple[bytes, int]]:
    try:
        with path.open("rb") as file:
            header = file.readline().rstrip(b"\r\n")
            if header != _HEADER:
                raise UsageError(f"{path}:1: the header must be Source<tab>Target")
            for number, line in enumerate(file, 2):
                if line.strip():
                    yield _parsed(line, f"{path}:{number}")
    except OSError as error:
        raise UsageError(f"{path}: cannot be read ({error.strerror})") from None


def _parsed(line: bytes, where: str) -> tuple[bytes, int]:
    source, tab, target = line.rstrip(b"\r\n").partition(b"\t")
    if not tab or target not in _DIGITS:
        raise UsageError(f"{where}: expected an expression, a tab and a value of 0..9")
    symbols = _symbols(source)
    strange = symbols.translate(None, _SYMBOLS)
    if strange:
        found = strange[:20].decode(errors="replace")
        raise UsageError(f"{where}: not part of an expression: {found!r}")
    opened = sum(map(symbols.count, (b"a", b"b", b"c", b"d")))
    if not symbols or opened != symbols.count(b"]"):
        raise UsageError(f"{where}: {opened} operators, {symbols.count(b']')} closing brackets")
    return symbols.translate(_TABLE) + bytes([END]), _DIGITS[target]


def _symbols(source: bytes) -> bytes:
    """An expression with one byte for each token; a letter that is there already is spoilt."""
    symbols = source.translate(bytes.maketrans(b"abcd", b"????"))
    for letter, operator in zip(b"abcd", OPERATORS, strict=True):
        symbols = symbols.replace(operator.encode(), bytes([letter]))
    return symbols.translate(None, _LEFT_OUT)
