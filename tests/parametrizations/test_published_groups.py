"""How publications train the parameters of their parametrizations, over the whole registry."""

from __future__ import annotations

import dataclasses

import pytest
import torch

from ssmbench import registry
from ssmbench.build.optimizer import parameter_groups
from ssmbench.optimizers.first_order import AdamConfig
from ssmbench.parametrizations.base import ParameterOptions
from tests.builders import build_parametrization
from tests.nn.networks import NAMES, SMALL

#: Options under which parameters exist that are not there by default.
MORE = {"learn_gamma": True}


def has_option(name: str) -> bool:
    config = registry.parametrizations.get(name).config
    return "published_groups" in {f.name for f in dataclasses.fields(config)}


@pytest.mark.parametrize("name", NAMES)
def test_each_has_the_groups_of_its_publication_or_says_why_not(name):
    factory = registry.parametrizations.get(name).factory
    if not has_option(name):
        assert factory.published is None
        assert factory.no_published_groups
        return
    module = build_parametrization(name, 4, published_groups=True, **SMALL, **MORE)
    own = {key for key, _ in module.named_parameters()}
    assert factory.published
    assert set(factory.published) <= own, "a name without a parameter"
    assert module.optimizer_options() == factory.published


@pytest.mark.parametrize("name", [n for n in NAMES if has_option(n)])
def test_the_optimizer_has_these_groups_and_by_default_those_of_this_project(name):
    config = AdamConfig(lr=1.0, ssm_lr=0.25, weight_decay=0.5)
    for wanted in (False, True):
        module = build_parametrization(name, 4, published_groups=wanted, **SMALL, **MORE)
        published = type(module).published if wanted else {}
        rates = {
            id(p): (group["lr"], group["weight_decay"])
            for group in parameter_groups(module, config)
            for p in group["params"]
        }
        for key, parameter in module.named_parameters():
            options = published.get(key, ParameterOptions())
            lr = 1.0 if options.rate == "main" else 0.25
            assert rates[id(parameter)] == (lr, 0.5 if options.decay else 0.0), key


def test_names_of_parameters_that_an_option_removes_are_left_out():
    module = build_parametrization("l2ru", 4, published_groups=True, **SMALL)
    assert "log_gamma" in type(module).published
    assert set(module.optimizer_options()) == {key for key, _ in module.named_parameters()}
    torch.optim.AdamW(parameter_groups(module, AdamConfig()))
