"""The browser that tests of pages use: it shows sizes, colours and errors as a page has them."""

from __future__ import annotations

from tests.browser import PHONE, Browser

PAGE = """<!doctype html><meta name="viewport" content="width=device-width"><title>a</title>
<style>body { height: 3000px } @media (prefers-color-scheme: dark) { body { color: red } }</style>
<body>text"""


def test_a_page_sees_its_width_and_colours_and_may_have_no_network(browser: Browser, tmp_path):
    file = tmp_path / "page.html"
    file.write_text(PAGE + "<script src='http://127.0.0.1:9/a.js'></script>")
    browser.resize(PHONE)
    browser.prefer(dark=True)
    browser.open(file, offline=True)
    assert browser.run("return [innerWidth, getComputedStyle(document.body).color]") == [
        PHONE,
        "rgb(255, 0, 0)",
    ]
    (error,) = browser.console_errors()
    assert "ERR_INTERNET_DISCONNECTED" in error
    browser.resize()
    browser.prefer()
    file.write_text(PAGE)
    browser.open(file)
    assert browser.console_errors() == []
    assert browser.print_pdf().startswith(b"%PDF")
    assert browser.screenshot(tmp_path / "page.png", full=True).stat().st_size > 1000
