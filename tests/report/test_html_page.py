"""The HTML report as text: complete, well formed, and harmless whatever names it shows."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from ssmbench.report.collect import RunRecord, collect
from ssmbench.report.contents import About, Contents, contents
from ssmbench.report.html import page
from ssmbench.report.html.markup import element, json_block
from ssmbench.report.html.numbers import duration, memory, number, score, with_spread
from ssmbench.report.html.strip import Axis
from tests.report.planted import planted_suite

INF = float("inf")
HOSTILE = "</script><script>document.title='x'</script><img src=x onerror='document.title=1'>&\"'"
VOID = {"meta", "input", "br", "hr", "img", "link"}


def made(
    root: Path, change: Callable[[RunRecord], RunRecord] = lambda record: record, **options
) -> Contents:
    planted_suite(root, options.pop("tasks", 2), options.pop("variants", 4), 3, **options)
    return contents([change(record) for record in collect(root)], About("a suite"))


class Outline(HTMLParser):
    """Complains about an end tag that does not match; collects addresses, ids and links."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.ids: list[str] = []
        self.addresses: list[str] = []
        self.scripts = 0
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)
        self.scripts += tag == "script"
        for name, value in attrs:
            assert not name.startswith("on"), (tag, name)
            if name == "id":
                self.ids.append(value or "")
            if name in ("href", "src", "action"):
                self.addresses.append(value or "")

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag):
        assert self.open, tag
        assert self.open.pop() == tag


def test_it_is_well_formed_and_points_nowhere_but_into_itself(tmp_path):
    text = page(made(tmp_path))
    outline = Outline(text)
    assert outline.open == []
    assert len(outline.ids) == len(set(outline.ids))
    assert outline.addresses
    assert {a[1:] for a in outline.addresses} <= set(outline.ids)
    assert all(address.startswith("#") for address in outline.addresses)


def test_the_same_contents_give_the_same_page(tmp_path):
    shown = made(tmp_path)
    assert page(shown) == page(shown)


def test_any_name_is_only_text(tmp_path):
    hostile = made(tmp_path, lambda r: replace(r, variant=HOSTILE + r.variant, task=HOSTILE))
    harmless = made(tmp_path / "b")
    text = page(replace(hostile, name=HOSTILE, warnings=(HOSTILE,)))
    outline = Outline(text)
    assert outline.open == []
    charts = text.count('figure class="chart"')
    assert outline.scripts == charts + 2  # a chart's data, plotly, and the page's own
    assert HOSTILE not in text
    assert "a suite" in page(harmless)


def test_what_has_no_data_has_no_section(tmp_path):
    text = page(made(tmp_path, curves=False, published=False, tasks=1))
    assert 'id="leaderboard"' in text
    for name in ("robustness", "further", "published", "over-tasks", "against"):
        assert f'id="{name}"' not in text
        assert f'href="#{name}"' not in text


def test_a_suite_without_a_complete_run_has_a_page(tmp_path):
    def nothing(record: RunRecord) -> RunRecord:
        return replace(record, state="missing", result=None)

    text = page(made(tmp_path, nothing))
    assert "missing" in text
    assert 'id="trade-off"' not in text


def test_every_seed_is_in_the_page_without_scripts(tmp_path):
    shown = made(tmp_path)
    plain = re.sub(r"<script.*?</script>", "", page(shown), flags=re.S)
    for row in shown.rows:
        assert all(score(one) in plain for one in row.scores.values())
        assert row.verified is None or number(row.verified) in plain


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "none"),
        (INF, "inf"),
        (0.0, "0"),
        (5.0, "5"),
        (8828.915, "8,829"),
        (26.299, "26.30"),
        (0.00123456, "0.001235"),
        (2.189e46, "2.19\u00d710⁴⁶"),
        (-3.2e-7, "-3.20\u00d710⁻⁷"),
        (999999.9, "1,000,000"),
    ],
)
def test_numbers_have_four_digits(value, text):
    assert number(value) == text


def test_scores_stand_under_one_another():
    assert [score(v) for v in (0.95, 0.9444, 5.0, None, 0.0)] == [
        *("0.9500", "0.9444", "5.000", "none", "0"),
    ]
    assert with_spread(0.95, 0.01234) == "0.9500 ± 0.0123"
    assert with_spread(0.95, None) == "0.9500"
    assert with_spread(None, None) == "none"
    assert with_spread(0.0, 0.0) == "0 ± 0.0000"


def test_amounts_have_units():
    assert [memory(v) for v in (None, 3e8, 1.5e9)] == ["none", "300 MB", "1.5 GB"]
    assert [duration(v) for v in (None, 20.0, 300.0, 7200.0)] == ["none", "20 s", "5 min", "2 h"]


@pytest.mark.parametrize(
    ("values", "logarithmic"),
    [
        ([], False),
        ([1.0], False),
        ([1.0], True),
        ([None, 3.0, INF], True),
        ([1e-3, 1e9], True),
        ([2.0, 3.0], True),
        ([0.0, 4.0], True),
        ([-1.0, 1.0], False),
        ([1e-12, 1.000000001e-12], False),
    ],
)
def test_an_axis_holds_what_it_is_of(values, logarithmic):
    axis = Axis.of(values, logarithmic=logarithmic)
    places = [axis.place(v) for v in [*axis.ticks, *(v for v in values if v is not None)]]
    assert all(0 < place < 100 for place in places)
    assert len(axis.ticks) <= 6
    if INF in values:
        assert axis.place(INF) > axis.place(axis.high)


def test_text_is_escaped_unless_it_is_markup():
    inner = element("b", "<x>", class_="a", data_v=0, hidden=True, title=None)
    assert element("p", inner, '&"') == (
        '<p><b class="a" data-v="0" hidden>&lt;x&gt;</b>&amp;&quot;</p>'
    )
    assert "</script" not in json_block(["</script><!--"])[:-9]
