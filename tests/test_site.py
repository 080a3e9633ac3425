"""The documentation site: it is built without a warning, every link in it leads somewhere, it needs
no network, and the pages that are made of other things than docs/*.md show what they should."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

import ssmbench
from ssmbench import registry
from tests.browser import DESKTOP, PHONE

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "tools" / "website" / "mkdocs.yml"


@dataclass
class Page(HTMLParser):
    """Anchors, links and what is loaded of one page, and its text."""

    html: str
    anchors: set[str] = field(default_factory=set)
    links: set[str] = field(default_factory=set)
    loaded: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()
        self.feed(self.html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.add(given["href"])
        elif tag != "a":
            self.loaded |= {given[name] for name in ("src", "srcset", "href") if name in given}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the site, built as `tools/site build` does."""
    folder = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "-f", CONFIG, "-d", folder]
    done = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return folder


@pytest.fixture(scope="module")
def pages(site: Path) -> dict[str, Page]:
    """The pages by their paths in the site."""
    files = sorted(site.rglob("*.html"))
    return {f.relative_to(site).as_posix(): Page(f.read_text()) for f in files}


def main_text(page: Page) -> str:
    """The article of a page without its tags."""
    _, _, article = page.html.partition("<article")
    return re.sub(r"<[^>]+>", "", article.partition("</article>")[0])


# --- every page, every link ---------------------------------------------------------------------


def test_every_page_of_docs_is_in_the_navigation():
    named = set(re.findall(r": ([\w/]+\.md)$", CONFIG.read_text(), re.MULTILINE))
    docs = {path.relative_to(ROOT / "docs").as_posix() for path in ROOT.glob("docs/**/*.md")}
    assert docs <= named, "add it to the navigation in tools/website/mkdocs.yml"


def test_every_link_leads_to_a_page_or_a_place_on_one(site, pages):
    broken = set()
    for name, page in pages.items():
        for link in page.links | page.loaded:
            parts = urlsplit(link)
            if parts.scheme or name == "404.html":
                continue
            target = (site / name).parent / unquote(parts.path) if parts.path else site / name
            place = pages.get(os.path.relpath(target, site))
            known = not parts.fragment or place is None or unquote(parts.fragment) in place.anchors
            if not target.exists() or not known:
                broken.add((name, link))
    assert broken == set()


def test_files_of_the_repository_are_named_by_their_paths(pages):
    text = main_text(pages["architecture.html"])
    assert "pyproject.toml" in text
    assert not [link for link in pages["architecture.html"].links if "pyproject" in link]


def test_nothing_is_loaded_from_a_network(site, pages):
    for name, page in pages.items():
        assert [url for url in page.loaded if re.match(r"(https?:)?//", url)] == [], name
    styles = "".join(file.read_text() for file in site.rglob("*.css"))
    assert not re.search(r"(@import|url\()\s*[\"']?(https?:)?//", styles)


# --- pages made of other things -----------------------------------------------------------------


def test_the_api_has_every_public_name(pages):
    anchors = pages["api/library.html"].anchors
    homes = ssmbench._HOMES.items()
    assert [name for name, home in homes if f"ssmbench.{home}.{name}" not in anchors] == []
    bases = [kind.base.replace(":", ".") for kind in registry.KINDS.values()]
    own = [base for base in bases if base.startswith("ssmbench.")]
    assert [base for base in own if base not in pages["api/kinds.html"].anchors] == []


def test_the_api_shows_arguments_errors_examples_and_attributes(pages):
    _, _, train = main_text(pages["api/library.html"]).partition("train(")
    assert train.index("Parameters:") < train.index("Raises:")
    assert '<span class="gp">&gt;&gt;&gt; </span>' in pages["api/library.html"].html
    assert "ssmbench.parametrizations.base.Parametrization.system_type" in (
        pages["api/kinds.html"].anchors
    )


def test_no_markup_is_left_in_a_text(pages):
    for name, page in pages.items():
        text = main_text(page)
        assert not re.search(r":(class|func|meth|attr|data|mod|exc):", text), name
        assert "\\(" not in text, name
        assert "```" not in re.sub(r"<pre.*?</pre>", "", page.html, flags=re.DOTALL), name
        assert "<blockquote" not in page.html, name


def test_formulas_are_mathml(pages):
    html = pages["certified_variants.html"].html
    assert html.count("<math") > 50
    assert "arithmatex" not in html
    assert not re.search(r"<m[ino]>(&amp;|\\\\)", html)  # what was not understood stands as it is


def test_notebooks_are_pages_with_their_outputs(pages):
    text = main_text(pages["notebooks/first_steps.html"])
    assert "import ssmbench as sb" in text
    assert "GainReport of a discrete-time system: stable" in text


# --- in a browser -------------------------------------------------------------------------------


def test_pages_fit_a_phone_and_are_searched_without_a_network(browser, site):
    views = (("index", PHONE, True), ("variants", PHONE, False), ("index", DESKTOP, True))
    for name, width, dark in views:
        browser.resize(width)
        browser.prefer(dark=dark)
        browser.open(site / f"{name}.html", offline=True)
        assert browser.run("return document.documentElement.scrollWidth") == width
        assert browser.run("return getComputedStyle(document.body).colorScheme") == (
            "dark" if dark else "light"
        )
    browser.wait("return document.querySelector('[data-md-component=search-query]')")
    browser.run(
        "document.querySelector('[data-md-toggle=search]').click();"
        "const query = document.querySelector('[data-md-component=search-query]');"
        "query.focus(); query.value = 'normaliser'; query.dispatchEvent(new Event('input'));"
        "query.dispatchEvent(new KeyboardEvent('keyup'));"
    )
    browser.wait("return document.querySelector('.md-search-result__link')")
    assert browser.console_errors() == []
