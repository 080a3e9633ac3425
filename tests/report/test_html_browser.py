"""The HTML report in a real browser, without a network: one page of 200 results for all tests."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from ssmbench.report.collect import collect
from ssmbench.report.contents import About, contents
from ssmbench.report.html import page
from tests.browser import DESKTOP, PHONE, Browser
from tests.report.planted import planted_suite
from tests.report.test_html_page import HOSTILE

MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The report of 4 tasks, 10 variants and 5 seeds, of which a variant has a hostile name."""
    folder = tmp_path_factory.mktemp("page")
    records = collect(planted_suite(folder, 4, 10, 5))
    named = [replace(r, variant=HOSTILE) if r.variant == "V3" else r for r in records]
    written = folder / "report.html"
    written.write_text(page(contents(named, About("two hundred"))))
    return written


@pytest.fixture(scope="module")
def report(file: Path, browser: Browser) -> Browser:
    """The page, opened on a desktop in light colours."""
    browser.resize()
    browser.prefer()
    browser.open(file, offline=True)
    return browser


@pytest.fixture(autouse=True)
def _silent(report: Browser):
    """No test makes the page report an error."""
    yield
    assert report.console_errors() == []


def column(report: Browser, place: int) -> list[str]:
    """The texts of a column of the first table, of the rows that are shown."""
    return report.run(
        "return [...document.querySelector('table').tBodies[0].rows].filter(r => !r.hidden)"
        ".map(r => r.cells[arguments[0]].innerText)",
        place,
    )


def click_header(report: Browser, place: int) -> str:
    """The order of the column after a press of the return key on its header."""
    report.run("document.querySelectorAll('thead button')[arguments[0]].focus()", place)
    report.driver.switch_to.active_element.send_keys("\ue007")
    return report.run("return document.activeElement.closest('th').ariaSort")


def test_two_hundred_results_are_under_five_megabytes_and_ask_for_nothing(report, file):
    assert file.stat().st_size < 5 * MEGABYTE
    assert report.run("return performance.getEntriesByType('resource').length") == 0
    assert report.run("return document.title") == "two hundred"
    assert report.run("return document.querySelectorAll('tbody tr').length") > 100


def test_names_are_shown_letter_by_letter(report):
    assert HOSTILE in " ".join(column(report, 0))
    assert report.run("return document.images.length") == 0


def test_no_script_but_its_own_can_run_nor_a_request_be_made(report):
    report.run(
        "const s = document.createElement('script'); s.textContent = 'window.foreign = 1';"
        "document.body.append(s); window.answer = '';"
        "fetch('data:,x').then(() => { answer = 'loaded' }, () => { answer = 'refused' })"
    )
    assert report.wait("return answer") == "refused"
    assert report.run("return window.foreign") is None
    assert len(report.console_errors()) >= 2


def test_a_header_orders_by_number_and_what_is_missing_is_last(report):
    before = column(report, 2)
    assert before[-1] == "none"
    assert click_header(report, 1) == "descending"  # accuracy: the best first
    assert click_header(report, 1) == "ascending"
    means = column(report, 2)
    assert means == sorted(means)  # as text: digits come before "none"
    assert means != before
    assert click_header(report, 1) == "none"
    assert column(report, 2) == before


def test_infinity_is_the_largest_number(report):
    values = report.run(
        "const table = [...document.querySelectorAll('#gains table')][1];"
        "const place = [...table.tHead.rows[0].cells].findIndex(c => c.innerText == 'Verified');"
        "table.tHead.rows[0].cells[place].querySelector('button').click();"
        "return [...table.tBodies[0].rows].map(r => r.cells[place].innerText)"
    )
    assert values[-1] == "inf"
    numbers = [float(value) for value in values]
    assert numbers == sorted(numbers)


def test_a_field_filters_the_rows_and_says_how_many(report):
    type_in = (
        "const field = document.querySelector('.table input'); field.value = arguments[0];"
        "field.dispatchEvent(new Event('input')); return document.querySelector('output').value"
    )
    assert report.run(type_in, "v1 TUSTIN") == "1 of 10 rows"
    assert column(report, 0) == ["V1 tustin"]
    assert report.run(type_in, "") == ""
    assert len(column(report, 0)) == 10


def test_charts_come_when_they_are_scrolled_to(report):
    assert report.run("return document.querySelectorAll('[data-state=drawn]').length") == 0
    report.run("document.querySelector('#trade-off figure').scrollIntoView()")
    drawn = "document.querySelector('#trade-off figure[data-state=drawn] .main-svg')"
    assert report.wait(f"return {drawn} !== null")
    assert report.run("return document.querySelectorAll('#further [data-state]').length") == 0


def test_a_variant_can_be_left_out_everywhere(report):
    choose = (
        "const box = document.querySelectorAll('.variants input')[1]; box.checked = arguments[0];"
        "box.dispatchEvent(new Event('change'))"
    )
    traces = "document.querySelector('#trade-off .plot').data.length"
    report.wait("return document.querySelector('#trade-off .plot').data !== undefined")
    before = report.run(f"return {traces}")
    report.run(choose, False)
    assert len(column(report, 0)) == 9
    assert report.wait(f"return {traces} === {before - 1}")
    assert "V0 against" not in report.run("return document.querySelector('#comparisons').innerText")
    report.run(choose, True)
    assert len(column(report, 0)) == 10
    assert report.wait(f"return {traces} === {before}")


@pytest.mark.parametrize("width", [DESKTOP, PHONE])
@pytest.mark.parametrize("dark", [False, True])
def test_both_widths_and_modes(report, width, dark, tmp_path):
    report.resize(width)
    report.prefer(dark=dark)
    assert report.run("return document.documentElement.scrollWidth") <= width
    page_colour = report.run("return getComputedStyle(document.body).backgroundColor")
    assert page_colour == ("rgb(17, 21, 26)" if dark else "rgb(255, 255, 255)")
    text = report.run("return getComputedStyle(document.body).color")
    shown = "document.querySelector('#trade-off .plot .xtick text')"
    assert report.wait(f"return getComputedStyle({shown}).fill === '{text}'")  # charts follow


def test_the_switch_changes_colours(report):
    report.resize()
    report.prefer()
    colours = []
    for _ in range(2):
        report.run("document.getElementById('theme').click()")
        colours.append(report.run("return getComputedStyle(document.body).backgroundColor"))
    assert colours == ["rgb(17, 21, 26)", "rgb(255, 255, 255)"]


def test_it_prints_every_chart(report):
    assert len(report.print_pdf()) > 200_000
    figures, charts = report.run(
        "return ['figure.chart', '.plot .plot-container'].map("
        "s => document.querySelectorAll(s).length)"
    )
    assert figures == charts > 10
