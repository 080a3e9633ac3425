"""Pictures of a suite's report, or of TensorBoard with its runs, from a real browser.

python tools/pictures.py outputs/quickstart --out docs/pictures
python tools/pictures.py outputs/quickstart --out docs/pictures --board custom_scalars
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from ssmbench.report.contents import contents  # noqa: E402
from ssmbench.report.html import page  # noqa: E402
from ssmbench.report.suites import read_source  # noqa: E402
from tests.browser import DESKTOP, PHONE, Browser, started  # noqa: E402

_LIMIT = 200_000  # bytes of a picture
_COLOURS = 256  # of one that is larger with all of its colours
#: Pages of TensorBoard, and the seconds after which one is complete: it does not say when.
_BOARD = ("hparams", "custom_scalars", "images", "text", "timeseries")
_COMPLETE = 8.0


@dataclass(frozen=True)
class Picture:
    """A part of a page: what the view begins with (a selector), its size and its colours."""

    name: str
    begins: str
    width: int = DESKTOP
    height: int = 900
    dark: bool = False


REPORT = (
    Picture("report", "body"),
    Picture("report_dark", "#gains", height=760, dark=True),
    Picture("report_phone", "#gains", width=PHONE, height=844),
    Picture("report_phone_dark", "#trade-off", width=PHONE, height=844, dark=True),
)


def report_pictures(suite: Path, out: Path, browser: Browser) -> list[Path]:
    """Pictures of the HTML report of the suite in ``suite``."""
    source = read_source(suite)
    file = out / "report.html"
    file.write_text(page(contents(source.records, source.about)))
    try:
        return [_taken(browser, file, picture, out) for picture in REPORT]
    finally:
        file.unlink()


def _taken(browser: Browser, file: Path, picture: Picture, out: Path) -> Path:
    browser.resize(picture.width, picture.height)
    browser.prefer(dark=picture.dark)
    browser.open(file, offline=True)
    browser.run(
        "document.documentElement.style.scrollBehavior = 'auto';"
        "document.querySelector(arguments[0]).scrollIntoView()",
        picture.begins,
    )
    near = (
        "f => { const y = f.getBoundingClientRect(); return y.bottom > 0 && y.top < innerHeight }"
    )
    browser.wait(
        f"return [...document.querySelectorAll('figure.chart')].filter({near})"
        ".every(f => f.dataset.state === 'drawn')"
    )
    return shrunk(browser.screenshot(out / f"{picture.name}.png"))


def board_pictures(
    suite: Path, out: Path, browser: Browser, pages: Iterable[str]
) -> Iterator[Path]:
    """Pictures of pages of TensorBoard with the suite's runs, light and dark."""
    from tensorboard import program

    server = program.TensorBoard()
    server.configure(argv=["", "--logdir", str(suite / "tensorboard"), "--port", "0"])
    address = server.launch()
    browser.resize(DESKTOP)
    for page_name, colours in ((name, dark) for name in pages for dark in (False, True)):
        browser.open("about:blank")  # a change of the fragment alone loads nothing
        browser.open(f"{address}?darkMode={str(colours).lower()}#{page_name}")
        time.sleep(_COMPLETE)
        name = f"board_{page_name}{'_dark' if colours else ''}.png"
        yield shrunk(browser.screenshot(out / name))


def shrunk(file: Path) -> Path:
    """The picture without loss, or with a palette if it is too large so.

    Raises:
        SystemExit: it is too large for the documentation in either way.
    """
    with Image.open(file) as image:
        whole = image.convert("RGB")
    whole.save(file, optimize=True)
    if file.stat().st_size > _LIMIT:
        whole.quantize(_COLOURS, dither=Image.Dither.NONE).save(file, optimize=True)
    if (size := file.stat().st_size) > _LIMIT:
        raise SystemExit(f"{file}: {size:,} bytes, more than {_LIMIT:,}")
    return file


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("suite", type=Path, help="the folder of a suite that was run")
    parser.add_argument("--out", type=Path, default=ROOT / "docs" / "pictures")
    parser.add_argument("--board", nargs="+", choices=_BOARD, help="pages of TensorBoard instead")
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    suite, out = options.suite, options.out
    with started() as browser:
        if options.board:
            files = board_pictures(suite, out, browser, options.board)
        else:
            files = report_pictures(suite, out, browser)
        for file in files:
            print(f"{file}: {file.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
