"""docs/certified_variants.md: its formulas, with random parameters, give the code's matrices."""

from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ssmbench import registry
from ssmbench.analysis.hinf import hinf_norm
from ssmbench.normalisers.base import Normaliser, NormaliserConfig
from ssmbench.parametrizations.base import Parametrization
from ssmbench.systems import DiscreteTime, LinearSystem
from ssmbench.testing import randomise

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "certified_variants.md").read_text()
#: The page's functions, and each variant's formulas by its name.
HELPERS, *BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
FORMULAS = {re.match(r"# (\w+)", block)[1]: block for block in BLOCKS}  # pyright: ignore
SECTIONS = set(re.findall(r"^## (\w+)$", PAGE, re.MULTILINE))
_CONTINUED = re.compile(r"A, B, C and D are those of (\w+)")


def declares_gain(kind: registry.Registry) -> list[str]:
    """Entries that bound the gain for all parameter values."""
    facts = {entry.name: getattr(entry.factory, "describe", dict)() for entry in kind}
    return [n for n, f in facts.items() if f.get("declares_gain") or f.get("infinite_horizon")]


VARIANTS = declares_gain(registry.parametrizations)
#: Of these the page has the matrices at one step, from the signal that selects them.
VARYING = [n for n in VARIANTS if registry.parametrizations.get(n).factory.is_time_varying()]


def by_formula(name: str, values: dict[str, Any]) -> dict[str, np.ndarray]:
    """A, B, C and D of a variant by the page's formulas, from parameters and options."""
    names = dict(values)
    exec(HELPERS, names)
    before = _CONTINUED.search(FORMULAS[name])
    for block in ([before[1]] if before else []) + [name]:
        exec(FORMULAS[block], names)
    return {key: names[key] for key in "ABCD"}


def transfer(matrices: dict[str, np.ndarray], points: np.ndarray) -> np.ndarray:
    """G at complex points, (points, [H,] p, m); for the same system in any coordinates the same."""
    A, B, C, D = (matrices[key] for key in "ABCD")
    eye = np.eye(A.shape[-1])
    return np.stack([C @ np.linalg.solve(z * eye - A, B) + D for z in points])


def matrices_of(system: LinearSystem) -> dict[str, np.ndarray]:
    dense = system.detach().to_dense()
    found = {key: getattr(dense, key).numpy() for key in "ABCD"}
    return found if dense.heads > 1 else {key: value[0] for key, value in found.items()}


def options_of(entry: registry.Entry, **chosen: Any) -> Any:
    """The config with these options, those that it does not have left out."""
    known = {field.name for field in dataclasses.fields(entry.config)}
    return entry.config(**{key: value for key, value in chosen.items() if key in known})


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", [name for name in VARIANTS if name not in VARYING])
def test_the_formulas_of_the_page_are_those_of_the_code(name, seed):
    entry = registry.parametrizations.get(name)
    config = options_of(entry, gamma=(0.1, 1.0, 30.0)[seed], d_state=6, dt=0.5)
    torch.manual_seed(seed)
    module: Parametrization = entry.factory(config, d_model=4).double()
    randomise(module, (1.0, 0.3, 2.0)[seed])
    parameters = {n.rpartition(".")[2]: p.detach().numpy() for n, p in module.named_parameters()}
    system = module()
    expected = matrices_of(system)
    found = by_formula(name, {**dataclasses.asdict(config), **parameters})
    discrete = isinstance(system, DiscreteTime)
    omega = np.linspace(0.1, 3.0, 7)
    points = np.exp(1j * omega) if discrete else 1j * omega
    # 1e-9: what l2ru keeps sigmoid(alpha) below 1; times what the resolvents amplify here
    G = transfer(expected, points)
    np.testing.assert_allclose(transfer(found, points), G, rtol=0, atol=1e-6 * np.abs(G).max())
    assert np.linalg.norm(G, 2, axis=(-2, -1)).max() <= config.gamma
    if discrete:  # in the coordinates of the page, the state's energy is a storage function
        root = config.gamma**0.5
        A, B, C, D = found["A"], found["B"] / root, found["C"] / root, found["D"] / config.gamma
        assert np.linalg.norm(np.block([[A, B], [C, D]]), 2) <= 1 + 1e-9


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("name", VARYING)
def test_the_formulas_of_a_step_are_those_of_the_code(name, seed):
    """Of the first channel at every step; what is shrunk for rounding is left out on the page."""
    entry = registry.parametrizations.get(name)
    config = options_of(entry, gamma=(0.1, 1.0, 30.0)[seed], d_state=6)
    torch.manual_seed(seed)
    module: Parametrization = entry.factory(config, d_model=4).double()
    randomise(module, (1.0, 0.3, 2.0)[seed])
    parameters = {n.rpartition(".")[2]: p.detach().numpy() for n, p in module.named_parameters()}
    u = torch.randn(1, 3, 4, dtype=torch.float64)
    for k in range(3):
        expected = matrices_of(module(u).at(0, k))
        names = {**dataclasses.asdict(config), **parameters, "u": u[0, k].numpy()}
        found = by_formula(name, names)
        for key in "ABCD":
            np.testing.assert_allclose(found[key], expected[key][0], rtol=1e-8, atol=1e-12)
        rows = [[found["A"], found["B"]], [found["C"], found["D"]]]
        rows[1] = [row / config.gamma for row in rows[1]]
        assert np.linalg.norm(np.block(rows), 2) <= 1 + 1e-9


@pytest.mark.parametrize("name", declares_gain(registry.normalisers))
def test_a_normaliser_scales_as_the_page_says(name):
    torch.manual_seed(0)
    free = registry.parametrizations.get("lru").factory(
        options_of(registry.parametrizations.get("lru"), d_state=6), d_model=3
    )
    system = free().double().detach()
    normaliser: Normaliser = registry.normalisers.get(name).factory(NormaliserConfig(gamma=2.0))
    bound = normaliser.bound(system).numpy()
    before = {key: value[None] for key, value in matrices_of(system).items()}
    names = {**before, "gamma": 2.0, "bound": bound}
    exec(FORMULAS[name], names)
    after = matrices_of(normaliser(system))
    np.testing.assert_allclose(names["C"][0], after["C"], rtol=1e-12)
    np.testing.assert_allclose(names["D"][0], after["D"], rtol=1e-12)
    assert 1.98 / 1.01 <= hinf_norm(normaliser(system)).norm.item() <= 2.0


def test_the_counterexample_of_the_page_grows_as_it_says():
    names = {"np": np}
    exec(FORMULAS["counterexample"], names)
    change = names["change"]
    assert change(1600) / change(100) == pytest.approx(4, rel=0.02)


def test_every_variant_that_declares_a_gain_has_a_section_with_formulas():
    promised = {*VARIANTS, *declares_gain(registry.normalisers)}
    assert promised <= set(FORMULAS) & SECTIONS


@pytest.mark.parametrize("name", VARIANTS)
def test_the_citation_is_on_the_page(name):
    section = PAGE.partition(f"\n## {name}\n")[2].partition("\n## ")[0]
    citation = registry.parametrizations.get(name).citation
    years = re.findall(r"\b(?:19|20)\d\d\b", citation)
    assert [year for year in years if year not in section] == []
