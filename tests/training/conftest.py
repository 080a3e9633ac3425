"""Tiny runs, and the toys that they are made of."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from ssmbench.config import merge, resolve
from tests.training.runs import TINY, toys_registered


@pytest.fixture
def toys():
    """The toys, known only within the test."""
    with toys_registered():
        yield


@pytest.fixture(scope="module")
def once(tmp_path_factory):
    """``once(train, config)``: what ``train(config, folder)`` returned, and its folder.

    It is called the first time only that a file asks for it with this config: for runs that several
    cases are compared with.
    """
    done: dict[tuple[str, str], tuple[Any, Path]] = {}

    def call(train: Callable, config: Mapping[str, Any]) -> tuple[Any, Path]:
        key = train.__name__, yaml.safe_dump(config)
        if key not in done:
            folder = tmp_path_factory.mktemp("once")
            done[key] = train(config, folder), folder
        return done[key]

    return call


@pytest.fixture
def lose_weights(monkeypatch):
    """``lose_weights(k)``: every parameter becomes NaN in the optimizer's k-th step."""

    def at(number: int) -> None:
        steps, step = [], torch.optim.AdamW.step

        def lossy(self, closure=None):
            loss = step(self, closure)
            steps.append(loss)
            if len(steps) > number:
                for parameter in (p for group in self.param_groups for p in group["params"]):
                    parameter.data.fill_(torch.nan)
            return loss

        monkeypatch.setattr(torch.optim.AdamW, "step", lossy)

    return at


@pytest.fixture
def tiny(toys):
    """Makes the resolved config of a tiny run: ``tiny(task=..., model={...})``."""
    return lambda **over: resolve(merge(TINY, over))


@pytest.fixture
def mortal(tiny):
    """A config with dropout, whose run dies where the environment says."""

    def make(**over):
        model = {"parametrization": {"name": "mortal", "d_state": 4}, "dropout": 0.3}
        return tiny(model=model | over.pop("model", {}), **over)

    return make
