"""The files that :func:`ssmbench.new` writes: a working example of each kind, renamed.

``ssmbench/templates`` has one plugin for each kind, ``KIND.py``, with a config that uses it,
``KIND.yaml``, where configs name such an entry, and its test. They are complete files, which
docs/writing_a_plugin.md shows as they are; a new plugin differs from them by its name alone.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).resolve().parent.parent / "templates"
#: The kind whose name the common test has in it.
_KIND_OF_THE_TEST = "parametrization"
_COMMON_TEST = "test_run.py"
_REGISTERED = re.compile(r"\.register\(\s*\"(\w+)\"")


@dataclass(frozen=True)
class Template:
    """The files of one kind, with the name ``example`` in them; ``config`` is "" for a kind that
    no config names."""

    kind: str
    example: str
    plugin: str
    config: str
    test: str

    def renamed(self, name: str) -> Template:
        """The same files for an entry called ``name``."""
        plugin = self.plugin.replace(f'"{self.example}"', f'"{name}"')
        for word, own in zip(self.words(self.example), self.words(name), strict=True):
            plugin = _with_word(plugin, word, own)
        config, test = (_with_word(text, self.example, name) for text in (self.config, self.test))
        return Template(self.kind, name, plugin, config, test)

    def words(self, name: str) -> list[str]:
        """The words that stand in the plugin's text for an entry called ``name``."""
        is_function = f"def {self.example}(" in self.plugin
        own = name if is_function else class_name(name)
        return [own, f"{class_name(name)}Config"]

    def uses(self, word: str) -> bool:
        """Whether the plugin's text has this word for something other than the entry."""
        found = re.search(rf"\b{word}\b", self.plugin) is not None
        return found and word not in self.words(self.example)


def template(kind: str) -> Template:
    """The template of a kind of the registry.

    Raises:
        FileNotFoundError: it has none.
    """
    plugin = _text(f"{kind}.py")
    example = _example(plugin)
    config = _text(f"{kind}.yaml") if (FOLDER / f"{kind}.yaml").exists() else ""
    return Template(kind, example, plugin, config, _test(kind, example))


def _test(kind: str, example: str) -> str:
    """The test of the kind's own, or else the common one."""
    if (FOLDER / f"test_{kind}.py").exists():
        return _text(f"test_{kind}.py")
    written_for = _example(_text(f"{_KIND_OF_THE_TEST}.py"))
    return _with_word(
        _with_word(_text(_COMMON_TEST), written_for, example), _KIND_OF_THE_TEST, kind
    )


def _example(plugin: str) -> str:
    """The name that a template registers."""
    (example,) = _REGISTERED.findall(plugin)
    return example


def _text(name: str) -> str:
    return (FOLDER / name).read_text(encoding="utf-8")


def class_name(name: str) -> str:
    """The class of an entry: ``damped_modes`` is ``DampedModes``."""
    return "".join(part[:1].upper() + part[1:] for part in name.split("_"))


def _with_word(text: str, old: str, new: str) -> str:
    return re.sub(rf"\b{old}\b", new, text)
