"""The model card of a published run: front matter as Hugging Face reads it, gains, how to check."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import yaml

from ssmbench.publication.layout import Entry
from ssmbench.results import Gains, LayerGains, Result

#: What the documentation of the figures is called in a card.
_DOCS = "docs/reading_the_gains.md of ssmbench"


def model_card(entry: Entry, result: Result, config: Mapping[str, Any]) -> str:
    """README.md of a published run."""
    parts = [
        f"---\n{_front_matter(entry, result)}---\n",
        f"# {entry.label}\n",
        f"{_sentence(entry, result, config)}\n",
        _scores(entry, result),
        _gains(result.gain),
        _not_proved(result),
        _data(entry, result),
        _use(entry),
    ]
    return "\n".join(part for part in parts if part)


def _front_matter(entry: Entry, result: Result) -> str:
    model = {"name": entry.label, "results": [_evaluation(entry)]}
    content: dict[str, Any] = {"license": entry.licence} if entry.licence else {}
    content |= {
        "library_name": "ssmbench",
        "tags": ["state-space-model", "l2-gain", "robustness", result.parametrization],
        "model-index": [model],
    }
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True)


def _evaluation(entry: Entry) -> dict[str, Any]:
    """An entry of ``model-index``: the scores, then the gains that the scores are paid with."""
    figures = {
        f"test {entry.metric}": (entry.metric, entry.test),
        f"validation {entry.metric}": (entry.metric, entry.val),
        "declared gain, largest layer": ("l2-gain", entry.declared),
        "verified gain, largest layer": ("l2-gain", entry.verified),
        "attacked gain, network": ("l2-gain", entry.network_attacked),
        "proved bound of the gain, network": ("l2-gain", entry.network_bound),
    }
    metrics = [
        {"type": kind, "name": name, "value": value}
        for name, (kind, value) in figures.items()
        if value is not None and math.isfinite(value)
    ]
    return {
        "task": {"type": "other", "name": entry.task},
        "dataset": {"type": entry.task, "name": entry.task},
        "metrics": metrics,
    }


def _sentence(entry: Entry, result: Result, config: Mapping[str, Any]) -> str:
    model = config["model"]
    sampled = f" sampled with {result.discretizer}" if result.discretizer else " in discrete time"
    certified = model.get("gamma")
    given = "" if result.imported is None else f" Its weights were {result.imported}."
    bounded = f", of prescribed gain {certified:g}" if certified is not None else ""
    return (
        f"A state-space network{bounded}: {model['n_layers']} x {result.parametrization}"
        f"{sampled}, {model['d_model']} channels, {entry.parameters:,} parameters, seed "
        f"{entry.seed}.{given}"
    )


def _scores(entry: Entry, result: Result) -> str:
    if result.scores is None:
        why = f"The training diverged at step {result.diverged_at}." if result.diverged else ""
        return f"## Scores\n\n{why or 'None: the weights came without a task.'}\n"
    name = f"{entry.metric}, {entry.unit}" if entry.unit else entry.metric
    better = "higher" if entry.higher_is_better else "lower"
    rows = [("test", result.scores.test), ("validation", result.scores.val)]
    baselines = result.task.baselines or {}
    rows += [(f"test, {name}: learns nothing", score) for name, score in baselines.items()]
    shown = [(label, _figure(score)) for label, score in rows]
    return f"## Scores\n\n{_table((f'{name} ({better} is better)', 'score'), shown)}\n"


def _gains(gains: Gains) -> str:
    rows = [
        (
            f"layer {index}",
            *map(_figure, (layer.declared, layer.verified, layer.attacked)),
            _how(layer),
        )
        for index, layer in enumerate(gains.layers)
    ]
    network = gains.network
    proof = network.reason or "upper bound, composed of what is proved of the parts"
    figures = map(_figure, (network.declared, network.bound, network.attacked))
    rows.append((f"network, from its {network.gains_from}", *figures, proof))
    head = ("L2 gain", "declared", "verified", "attacked", "proof")
    return (
        f"## Gains\n\n{_table(head, rows)}\n\nDeclared: what the parametrization promises for all "
        "values of its parameters. Verified: computed from the matrices of these weights. "
        "Attacked: the largest that an adversary found, so that the true gain is at least as "
        f"large. Largest spectral radius of a layer: {_figure(gains.spectral_radius)}.\n"
    )


def _how(layer: LayerGains) -> str:
    if layer.verified is None:
        return layer.note or "none: the system depends on its input"
    if math.isinf(layer.verified):
        return "unstable"
    if layer.verified_bound is None or math.isinf(layer.verified_bound):
        return "unproved: an estimate"
    return f"proved to be at most {layer.verified_bound:.6g}"


def _not_proved(result: Result) -> str:
    """What a reader must not take for proved."""
    gains = result.gain
    open_ = [
        "the scores, which `ssmbench verify --data` computes again where the data are",
        "that attacked gains are the largest possible",
        f"what rounding in {gains.arithmetic} adds: certificates are of exact arithmetic",
    ]
    open_ += [f"figures marked as estimates: {', '.join(gains.unproved)}"] if gains.unproved else []
    open_ += list(result.warnings)
    return "Not proved:\n\n" + "\n".join(f"- {sentence}" for sentence in open_) + "\n"


def _data(entry: Entry, result: Result) -> str:
    digest = result.task.data_digest or "not recorded"
    return (
        f"## Data\n\nTask `{result.task.name}`: {result.task.source}; digest of the data {digest}."
        f" Trained with ssmbench {(result.environment.packages or {}).get('ssmbench') or '?'}.\n"
    )


def _use(entry: Entry) -> str:
    if entry.status == "diverged":
        return ""
    sources = [one.file or f"the package {one.package}" for one in entry.plugins]
    plugins = f"\n\nIt needs plugins: {', '.join(dict.fromkeys(sources))}." if sources else ""
    name = entry.fingerprint
    return (
        "## How to load and to check it\n\nIn the folder of the leaderboard:\n\n```python\n"
        "import ssmbench as sb\n\n"
        f'model = sb.load("runs/{name}").model\n```\n\n```bash\nssmbench verify .\n```\n\n'
        f"`verify` computes poles, declared and verified gains from `runs/{name}` again "
        f"({_DOCS} explains the figures).{plugins}\n"
    )


def folder_card(entries: Sequence[Entry]) -> str:
    """README.md of the folder, which is written once and belongs to its owner from then on."""
    licences = sorted({entry.licence for entry in entries if entry.licence})
    content = {"license": licences[0]} if len(licences) == 1 else {}
    content |= {"tags": ["state-space-model", "leaderboard", "l2-gain"]}
    front = yaml.safe_dump(content, sort_keys=False, allow_unicode=True)
    return (
        f"---\n{front}---\n\n# State-space models: scores and gains\n\nResults of "
        "[ssmbench](https://pypi.org/project/ssmbench/) runs with their weights. "
        "`leaderboard.json` lists them, `runs/` has a card for each, `digests.json` the SHA-256 of "
        "every file.\n\n```bash\nssmbench report .    # tables and figures\n"
        "ssmbench verify .    # gains and poles are computed from the weights again\n```\n"
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(_cell, line))} |" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def _figure(value: float | None) -> str:
    return "none" if value is None else f"{value:.6g}"
