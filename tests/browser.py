"""A real browser without a window, for tests of pages that people look at: Debian's Chromium."""

from __future__ import annotations

import base64
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

#: Set where these tests must run: then what they need is not a reason to skip them.
REQUIRED = "SSMBENCH_REQUIRE_BROWSER"
DESKTOP, PHONE = 1280, 390  # widths in CSS pixels
_BROWSERS, _DRIVERS = ("chromium", "chromium-browser", "google-chrome"), ("chromedriver",)
_ARGUMENTS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"),
    *("--no-first-run", "--disable-background-networking", "--disable-component-update"),
    *("--disable-sync", "--disable-extensions", "--force-color-profile=srgb", "--lang=en"),
    "--hide-scrollbars",  # those of a desktop would take part of a phone's width
)


class Browser:
    """One window; what a test sets in it (size, colours, network) lasts until it is set again."""

    def __init__(self, driver: Chrome) -> None:
        self.driver = driver

    def open(self, page: Path | str, offline: bool = False) -> None:
        """Load a file or an address, and forget earlier messages; ``offline``: without network."""
        self._command("Network.enable")
        self._command(
            "Network.emulateNetworkConditions",
            {"offline": offline, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1},
        )
        self.console_errors()
        self.driver.get(page.resolve().as_uri() if isinstance(page, Path) else page)

    def resize(self, width: int = DESKTOP, height: int = 900) -> None:
        """The size of the page's viewport in CSS pixels; narrow ones are a phone's with touch."""
        phone = width < 600
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": phone}
        self._command("Emulation.setDeviceMetricsOverride", size)
        self._command("Emulation.setTouchEmulationEnabled", {"enabled": phone})

    def prefer(self, *, dark: bool = False, media: str = "") -> None:
        """What the page is told: light or dark; ``media``: "print", or the screen."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._command("Emulation.setEmulatedMedia", {"media": media, "features": [scheme]})

    def run(self, script: str, *arguments: Any) -> Any:
        """What ``script`` returns: JavaScript, the body of a function of ``arguments``."""
        return self.driver.execute_script(script, *arguments)

    def wait(self, script: str, seconds: float = 20.0) -> Any:
        """What ``script`` returns as soon as that is true.

        Raises:
            AssertionError: it was not within ``seconds``; with the page's errors.
        """
        end = time.monotonic() + seconds
        while not (answer := self.run(script)):
            if time.monotonic() > end:
                raise AssertionError(f"not within {seconds:g} s: {script}; {self.console_errors()}")
            time.sleep(0.05)
        return answer

    def console_errors(self) -> list[str]:
        """The errors that the page has reported since the last call: of its scripts, of requests,
        and of what its Content-Security-Policy refused."""
        log = self.driver.get_log("browser")
        return [line["message"] for line in log if line["level"] == "SEVERE"]

    def screenshot(self, file: Path, *, full: bool = False) -> Path:
        """A PNG of what is in view, or of the ``full`` page."""
        options: dict[str, Any] = {"format": "png"}
        if full:
            size = self._command("Page.getLayoutMetrics")["cssContentSize"]
            clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
            options |= {"captureBeyondViewport": True, "clip": clip}
        file.write_bytes(base64.b64decode(self._command("Page.captureScreenshot", options)["data"]))
        return file

    def print_pdf(self) -> bytes:
        """The page as it is printed."""
        answer = self._command("Page.printToPDF", {"printBackground": True})
        return base64.b64decode(answer["data"])

    def _command(self, name: str, options: dict[str, Any] | None = None) -> dict[str, Any]:
        """One of the Chrome DevTools Protocol."""
        return self.driver.execute_cdp_cmd(name, options or {})


def lacking() -> str:
    """Why no browser can be started here, or nothing."""
    for names in (_BROWSERS, _DRIVERS):
        if not _program(names):
            return f"no {names[0]} on the PATH (Debian: apt-get install chromium chromium-driver)"
    try:
        import selenium  # noqa: F401
    except ImportError:
        return "selenium is not installed"
    return ""


@contextmanager
def started() -> Iterator[Browser]:
    """A browser with an empty profile, of desktop size and light; it ends with the block."""
    from selenium.webdriver import Chrome, ChromeOptions, ChromeService

    options = ChromeOptions()
    options.binary_location = _program(_BROWSERS)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    with tempfile.TemporaryDirectory(prefix="browser", ignore_cleanup_errors=True) as profile:
        for argument in (*_ARGUMENTS, f"--user-data-dir={profile}"):
            options.add_argument(argument)
        driver = Chrome(options, ChromeService(_program(_DRIVERS)))
        try:
            browser = Browser(driver)
            browser.resize()
            browser.prefer()
            yield browser
        finally:
            driver.quit()


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """The browser of this session's tests; each sets the size and the colours that it needs."""
    if reason := lacking():
        if os.environ.get(REQUIRED):
            pytest.fail(reason)
        pytest.skip(reason)
    with started() as one:
        yield one


def _program(names: tuple[str, ...]) -> str:
    """The first of the programs that is installed, or nothing."""
    return next((path for name in names if (path := shutil.which(name))), "")
