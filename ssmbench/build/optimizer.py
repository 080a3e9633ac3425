"""Build the optimizer of a run: its parameter groups."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fnmatch import fnmatchcase
from typing import Any

import torch
from torch import nn

from ssmbench import registry
from ssmbench.config import build, options_of
from ssmbench.errors import require
from ssmbench.nn.contracts import check_built
from ssmbench.optimizers.base import GROUPS, OptimizerConfig
from ssmbench.origins import plugin_require
from ssmbench.parametrizations.base import ParameterOptions, Parametrization
from ssmbench.registry import Entry

_SSM_PARAMETERS = ParameterOptions()
_MATRICES = ParameterOptions("main", decay=True)
_OTHERS = ParameterOptions("main")


def build_optimizer(model: nn.Module, component: Mapping[str, Any]) -> torch.optim.Optimizer:
    """The optimizer that a resolved component describes, over all parameters of ``model``.

    Raises:
        PluginError: the component is not an optimizer, or does not train all parameters.
    """
    kind = registry.optimizers
    groups = parameter_groups(model, options_of(kind, component))
    optimizer = build(kind, component, groups=groups)
    check_optimizer(kind.get(component["name"]), optimizer, groups)
    return optimizer


def check_optimizer(entry: Entry, optimizer: Any, groups: list[dict[str, Any]]) -> None:
    """Raise a PluginError unless ``optimizer`` trains exactly the parameters in ``groups``."""
    check_built(entry, optimizer, torch.optim.Optimizer)
    given = {id(p) for group in groups for p in group["params"]}
    taken = {id(p) for group in optimizer.param_groups for p in group["params"]}
    plugin_require(
        given == taken,
        entry.factory,
        f"trains {len(taken & given)} of the {len(given)} parameters that it is given in groups",
    )


def parameter_groups(
    model: nn.Module, config: OptimizerConfig, kind: type[nn.Module] = Parametrization
) -> list[dict[str, Any]]:
    """Groups: SSM parameters (``ssm_lr``, no decay), matrices (with decay), others (no decay).

    SSM parameters are those of modules of the class ``kind``. Weight decay would move their poles
    and step sizes towards arbitrary values (Gu et al. 2022, S4, appendix D).

    A module's ``optimizer_options`` overrides this rule for the parameters that it names; groups
    with options other than these three come last. ``config.groups`` overrides both.

    Raises:
        UsageError: ``optimizer_options`` names a parameter that the module does not have, or a
            pattern of ``config.groups`` matches no parameter.
    """
    chosen, matched = _chosen_options(model, kind), _matched_entries(model, config)
    groups: dict[tuple[ParameterOptions, int | None], list[nn.Parameter]] = {
        (_SSM_PARAMETERS, None): [],
        (_MATRICES, None): [],
        (_OTHERS, None): [],
    }
    for parameter in model.parameters():
        options = chosen.get(id(parameter), _MATRICES if parameter.ndim >= 2 else _OTHERS)
        groups.setdefault((options, matched.get(id(parameter))), []).append(parameter)
    return [
        _group(params, options, config) | _own_options(config, entry)
        for (options, entry), params in groups.items()
        if params
    ]


def _matched_entries(model: nn.Module, config: OptimizerConfig) -> dict[int, int]:
    """The index of the last entry of ``config.groups`` that matches, by id of the parameter."""
    named, matched = list(model.named_parameters()), {}
    entries = [] if config.groups is None else config.groups
    require(GROUPS.test(entries), f"optimizer.groups: {GROUPS.problem(entries)}")
    for index, entry in enumerate(entries):
        found = [p for name, p in named if fnmatchcase(name, entry["pattern"])]
        require(
            bool(found),
            f"optimizer.groups: no parameter matches {entry['pattern']!r}; their names are "
            + ", ".join(dict.fromkeys(re.sub(r"(?<=\.)\d+(?=\.)", "*", name) for name, _ in named)),
        )
        matched |= {id(p): index for p in found}
    return matched


def _own_options(config: OptimizerConfig, entry: int | None) -> dict[str, float]:
    if entry is None:
        return {}
    own = config.groups[entry]
    return {key: own[key] for key in ("lr", "weight_decay") if key in own}


def _chosen_options(model: nn.Module, kind: type[nn.Module]) -> dict[int, ParameterOptions]:
    """Options by id of the parameter; those of the innermost module take precedence."""
    chosen: dict[int, ParameterOptions] = {}
    for module in model.modules():
        if isinstance(module, kind):
            chosen |= {id(p): _SSM_PARAMETERS for p in module.parameters() if id(p) not in chosen}
        declared = getattr(module, "optimizer_options", None)
        if declared is not None:
            own = dict(module.named_parameters())
            for name, options in declared().items():
                require(
                    name in own,
                    f"{type(module).__name__}: optimizer_options names {name!r}, which is not one "
                    "of its parameters",
                )
                chosen[id(own[name])] = options
    return chosen


def _group(
    params: list[nn.Parameter], options: ParameterOptions, config: OptimizerConfig
) -> dict[str, Any]:
    rate = config.ssm_lr if options.rate == "ssm" else config.lr
    decay = config.weight_decay if options.decay else 0.0
    return {"params": params, "lr": rate * options.factor, "weight_decay": decay}
