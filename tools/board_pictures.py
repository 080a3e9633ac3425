"""Pictures of TensorBoard's pages in a real browser, light and dark, for a suite or a run.

python tools/board_pictures.py outputs/quickstart/tensorboard pictures
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.browser import DESKTOP, started

PAGES = ("hparams", "custom_scalars", "images", "text", "timeseries")


def main(arguments: list[str] | None = None) -> int:
    from tensorboard import program

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("logdir", type=Path)
    parser.add_argument("output", type=Path, help="a folder")
    parser.add_argument("--pages", nargs="+", choices=PAGES, default=PAGES)
    parser.add_argument("--wait", type=float, default=8.0, help="seconds for a page to be complete")
    options = parser.parse_args(arguments)
    options.output.mkdir(parents=True, exist_ok=True)
    server = program.TensorBoard()
    server.configure(argv=["", "--logdir", str(options.logdir), "--port", "0"])
    address = server.launch()
    with started() as browser:
        browser.resize(DESKTOP)
        for dark, page in ((dark, page) for dark in (False, True) for page in options.pages):
            browser.open("about:blank")  # a change of the fragment alone loads nothing
            browser.open(f"{address}?darkMode={str(dark).lower()}#{page}")
            time.sleep(options.wait)
            name = f"{page}-{'dark' if dark else 'light'}.png"
            print(browser.screenshot(options.output / name))
    return 0


if __name__ == "__main__":
    sys.exit(main())
