"""Links written for GitHub's rendering of the repository, turned into those of the site.

A link to a page of docs/, to a notebook or to a page of the root leads to its page here. One to
another file of the repository leads to the repository where ``repo_url`` is set; else the file is
named by its path, without a link.
"""

from __future__ import annotations

import posixpath
import re
from typing import Any
from xml.etree.ElementTree import Element

from markdown import Extension, Markdown
from markdown.treeprocessors import Treeprocessor
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.pages import Page
from sources import ROOT, folder_of, page_of

_state: dict[str, str] = {"uri": "", "repository": ""}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    _state["repository"] = (config.repo_url or "").rstrip("/")
    config.markdown_extensions.append(RepositoryLinks())  # pyright: ignore[reportArgumentType]
    return config


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    _state["uri"] = page.file.src_uri
    return markdown


class RepositoryLinks(Extension):
    def extendMarkdown(self, md: Markdown) -> None:
        # after inline patterns (20) have made the links, before mkdocs checks them (0)
        md.treeprocessors.register(LinkProcessor(md), "repository_links", 5)


class LinkProcessor(Treeprocessor):
    def run(self, root: Element) -> None:
        for element in root.iter():
            attribute = {"a": "href", "img": "src"}.get(element.tag)
            target = element.get(attribute, "") if attribute else ""
            if attribute and target and not re.match(r"[a-z]+:|#|/", target):
                redirect(element, attribute, target, _state["uri"])


def redirect(element: Element, attribute: str, target: str, uri: str) -> None:
    """Change a link with a relative target on the page of that uri."""
    path, _, anchor = target.partition("#")
    path = posixpath.normpath(folder_of(uri) + path)
    page = page_of(path)
    if page is not None:
        own = posixpath.dirname(uri) or "."
        link = posixpath.relpath(page, own)
        element.set(attribute, f"{link}#{anchor}" if anchor else link)
    elif element.tag == "a" and (ROOT / path).exists():
        to_repository(element, path)


def to_repository(element: Element, path: str) -> None:
    """A link to a file that the site does not have, or the file's path in code."""
    if _state["repository"]:
        kind = "tree" if (ROOT / path).is_dir() else "blob"
        element.set("href", f"{_state['repository']}/{kind}/HEAD/{path}")
        return
    text = "".join(element.itertext())
    tail = element.tail
    for child in list(element):
        element.remove(child)
    element.attrib.clear()
    if path.endswith(text.strip("`./") or " "):
        element.tag, element.text = "code", path
    else:
        element.tag, element.text = "span", f"{text} "
        code = Element("code")
        code.text = path
        element.append(code)
    element.tail = tail
