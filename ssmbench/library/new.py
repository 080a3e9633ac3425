"""Write a new plugin: one working file, a config that uses it, and its test."""

from __future__ import annotations

import importlib.util
import keyword
import re
from dataclasses import dataclass
from pathlib import Path

import yaml

from ssmbench import registry
from ssmbench.errors import UsageError, WriteError, require, shown_path
from ssmbench.library.templates import Template, template
from ssmbench.paths import absolute
from ssmbench.registry import PLUGINS_FOLDER, Registry


@dataclass(frozen=True)
class NewPlugin:
    """The files of a new plugin; ``config`` is None for a kind that no config names."""

    kind: str
    name: str
    plugin: Path
    config: Path | None
    test: Path

    @property
    def files(self) -> list[Path]:
        """The files that were written."""
        return [file for file in (self.plugin, self.config, self.test) if file is not None]

    @property
    def commands(self) -> list[str]:
        """What to do next, as commands for the folder in which it was written."""
        plugin, test = shown_path(self.plugin), shown_path(self.test)
        found = plugin == str(Path(PLUGINS_FOLDER, self.plugin.name))
        option = "" if found else f" --plugins {plugin}"
        commands = [f"ssmbench check {self.kind} {self.name}{option}", f"pytest {test}"]
        if self.config is not None:
            verb = "run" if registry.KINDS[self.kind].places else "suite"
            commands.append(f"ssmbench {verb} {shown_path(self.config)}{option}")
        return commands


def new(kind: str, name: str, *, output: str | Path = PLUGINS_FOLDER) -> NewPlugin:
    """Write a plugin that works at once, to be changed: the file, its config and its test.

    Plugins in ``./plugins`` are found by themselves. Nothing is overwritten.

    >>> import tempfile
    >>> import ssmbench as sb
    >>> files = sb.new("parametrization", "my_modes", output=tempfile.mkdtemp()).files
    >>> [file.name for file in files]
    ['my_modes.py', 'my_modes.yaml', 'test_my_modes.py']

    Args:
        kind: for example "parametrization".
        name: its name in configs; small letters, digits and underscores.
        output: the folder, made where it is missing.

    Raises:
        UsageError: an unknown kind, a name that cannot be used or is taken, or a file that exists.
    """
    known = registry.get_kind(kind)
    example = template(known.kind)
    _check_word(known, name, example)
    _check_free(known, name)
    folder, made = absolute(output, "output"), example.renamed(name)
    texts = {
        folder / f"{name}.py": made.plugin,
        folder / f"{name}.yaml": made.config,
        folder / f"test_{name}.py": made.test,
    }
    texts = {file: text for file, text in texts.items() if text}
    _write(texts)
    plugin, test = folder / f"{name}.py", folder / f"test_{name}.py"
    config = folder / f"{name}.yaml" if made.config else None
    return NewPlugin(known.kind, name, plugin, config, test)


def _check_word(kind: Registry, name: str, example: Template) -> None:
    """The name must be one that the file, its class and its test can have."""
    where = f"{kind.kind} {name!r}"
    usable = re.fullmatch(r"[a-z][a-z0-9_]*", name) is not None
    near = re.sub(r"[^a-z0-9]+", "_", name.lower()).strip("_")
    hint = f"; did you mean {near!r}?" if re.match("[a-z]", near) else ""
    rule = "a name is a small letter followed by small letters, digits and underscores"
    require(usable, f"{where}: {rule}{hint}")
    reserved = keyword.iskeyword(name) or not isinstance(yaml.safe_load(name), str)
    require(not reserved, f"{where}: this word has a meaning in Python or in YAML")
    test = name.startswith("test_")
    require(not test, f"{where}: files called test_*.py hold tests, not plugins")
    # The folder of the plugin's test comes first on Python's search path while pytest runs it.
    hidden = importlib.util.find_spec(name) is not None
    require(not hidden, f"{where}: a Python module of this name is installed, and would be hidden")
    for word in example.words(name):
        used = example.uses(word)
        require(not used, f"{where}: the file uses the word {word} for something else")


def _check_free(kind: Registry, name: str) -> None:
    if name in kind:
        file, _, line = kind.get(name).origin.rpartition(":")
        raise UsageError(f"{kind.kind} {name!r} exists: {shown_path(file)}:{line}")


def _write(texts: dict[Path, str]) -> None:
    for file in texts:
        require(not file.exists(), f"{shown_path(file)}: exists, and is not overwritten")
    for file, text in texts.items():
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("x") as stream:
                stream.write(text)
        except FileExistsError:
            taken = file if file.exists() else file.parent
            raise UsageError(f"{shown_path(taken)}: exists, and is not overwritten") from None
        except OSError as error:
            raise WriteError.of(file, error) from None
