"""Options that are chosen by name: every choice works, and none is mistaken in silence."""

from __future__ import annotations

import dataclasses
import itertools
from enum import Enum
from typing import Any

import pytest

from ssmbench import registry
from ssmbench.config import build, resolve_component
from ssmbench.errors import UsageError
from ssmbench.testing import conform

CHOICES = {
    entry.name: {
        f.name: type(f.default)
        for f in dataclasses.fields(entry.config)
        if isinstance(f.default, Enum)
    }
    for entry in registry.parametrizations
}
WITH_CHOICES = [name for name, choices in CHOICES.items() if choices]
#: Options under which a choice conforms that the default ones refuse.
GENTLER = {
    ("l2ru", "norm", "frobenius"): {"radius": 0.5, "radius_min": 0.3},
    ("lssl", "init", "fout"): {"d_state": 17},
    ("s4", "init", "legt"): {"rank": 2},
}
OPTIONS = [(name, option) for name, choices in CHOICES.items() for option in choices]


def described(name: str, **options: Any) -> dict[str, Any]:
    return resolve_component(registry.parametrizations, {"name": name} | options, "test")


def built_or_refused(name: str, options: dict[str, str]) -> str | None:
    """None where the parametrization can be built, for two widths; else the refusal."""
    for d_model in (1, 4):
        try:
            component = described(name, **options)
            build(registry.parametrizations, component, d_model=d_model)
        except UsageError as error:
            return str(error)
    return None


def combinations(name: str) -> list[dict[str, str]]:
    names = [[(o, member.name) for member in kind] for o, kind in CHOICES[name].items()]
    return [dict(pairs) for pairs in itertools.product(*names)]


@pytest.mark.parametrize("name", WITH_CHOICES)
def test_every_combination_conforms_or_is_refused_by_name(name):
    """And every choice is of use: in at least one combination it is not refused."""
    entry, used = registry.parametrizations.get(name), set()
    for options in combinations(name):
        members = {o: CHOICES[name][o][m] for o, m in options.items()}
        refusal = built_or_refused(name, options)
        if refusal is not None:
            assert "\n" not in refusal
            assert any(f"{o}={m}" in refusal for o, m in options.items()), refusal
            more = [GENTLER.get((name, *pair), {}) for pair in options.items()]
            members |= {k: v for some in more for k, v in some.items()}
        if refusal is None or members.keys() > options.keys():
            conform(entry, config=entry.config(**members))
            used |= set(options.items())
    assert used == {(o, m.name) for o, kind in CHOICES[name].items() for m in kind}


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("s5", {"real_part": "clip"}),
        ("lru", {"whole_C": True}),
        ("linoss", {"complex_matrices": True}),
    ],
)
def test_the_published_forms_conform(name, options):
    entry = registry.parametrizations.get(name)
    conform(entry, config=entry.config(**options))


def test_complex_oscillators_come_in_fours():
    component = described("linoss", d_state=6, complex_matrices=True)
    with pytest.raises(UsageError, match=r"multiple of 4 with complex_matrices .* got 6"):
        build(registry.parametrizations, component, d_model=4)


@pytest.mark.parametrize(("name", "option"), OPTIONS)
@pytest.mark.parametrize("value", ["no such choice", 0, 1, True, None, 1.5])
def test_an_unknown_choice_is_refused_and_the_known_ones_are_named(name, option, value):
    with pytest.raises(UsageError) as caught:
        described(name, **{option: value})
    sentence = str(caught.value)
    assert option in sentence
    assert "\n" not in sentence
    assert all(member.name in sentence for member in CHOICES[name][option])


@pytest.mark.parametrize(("name", "option"), OPTIONS)
def test_a_string_does_not_pass_for_a_choice_in_python(name, option):
    """S4DConfig(init="lin") would be none of the members, and mean whatever comes last."""
    entry = registry.parametrizations.get(name)
    config = entry.config()
    member = getattr(config, option)
    entry.build(config, d_model=4)
    setattr(config, option, member.name)  # past the types that tests check on construction
    with pytest.raises(UsageError, match=rf"{option}: '{member.name}' is none of .*{member}"):
        entry.build(config, d_model=4)


@pytest.mark.parametrize("name", [n for n in CHOICES if n not in WITH_CHOICES])
def test_a_choice_that_belongs_to_another_is_refused(name):
    with pytest.raises(UsageError, match=r"Key 'init' not in"):
        described(name, init="legs")


def test_there_are_choices():
    assert {"s4d", "l2ru"} <= set(WITH_CHOICES)


@pytest.mark.parametrize(
    ("name", "options"),
    [("discrete_matrices", {"radius": -1.0}), ("continuous_matrices", {"decay": 0.0})],
)
def test_matrices_refuse_a_start_that_is_not_positive(name, options):
    with pytest.raises(UsageError, match=rf"{next(iter(options))}: .*positive"):
        build(registry.parametrizations, described(name, **options), d_model=4)
