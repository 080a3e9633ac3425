"""Figures of generated ListOps expressions and Pathfinder images, as docs/tasks.md has them.

python tools/generated_figures.py --images 4096
"""

from __future__ import annotations

import argparse

import numpy as np
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import cross_val_score

from ssmbench.registry import tasks
from ssmbench.tasks.lra.contours import CHUNK, _marked_ends, _placed
from ssmbench.tasks.lra.listops import ListOpsConfig
from ssmbench.tasks.lra.listops_trees import Shape, grow
from ssmbench.tasks.lra.records import Records

_TREES = 10_000


def listops_lengths(trees: int) -> tuple[float, float]:
    """The share of trees that are kept, and the median length of those, in tokens."""
    config = ListOpsConfig()
    shape = Shape(config.min_length, config.max_length, config.max_depth, config.max_args)
    random = np.random.default_rng(0)
    lengths = np.concatenate([grow(shape, random, _TREES)[1] for _ in range(-(-trees // _TREES))])
    kept = lengths[(lengths > shape.min_length) & (lengths < shape.max_length)]
    return len(kept) / len(lengths), float(np.median(kept))


def listops_baselines() -> dict[str, float]:
    """Accuracies of the trivial predictors on the default's test expressions."""
    config = ListOpsConfig(records=Records.generated)
    return tasks.get("listops").build(config, batch_size=100, seed=0).baseline_scores()


def pathfinder_discs(images: int) -> tuple[np.ndarray, np.ndarray]:
    """Where the two discs of each image are, (n, 2, 2) in pixels, the upper one first; labels."""
    discs, labels = [], []
    for chunk in range(-(-images // CHUNK)):
        random = np.random.default_rng((0, chunk))
        label = random.integers(0, 2, CHUNK)
        found = _marked_ends(_placed(random, 32, 14, 6), label)
        order = found[:, :, 0].argsort(1)
        discs.append(np.take_along_axis(found, order[..., None], 1))
        labels.append(label)
    return np.concatenate(discs), np.concatenate(labels)


def told_by(features: np.ndarray, labels: np.ndarray) -> float:
    """The accuracy of boosted trees in five-fold cross-validation."""
    return float(cross_val_score(HistGradientBoostingClassifier(), features, labels).mean())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trees", type=int, default=400_000)
    parser.add_argument("--images", type=int, default=4096)
    options = parser.parse_args()
    share, median = listops_lengths(options.trees)
    print(f"listops: {share:.1%} of {options.trees:,} trees are kept; median length {median:.0f}")
    for name, accuracy in listops_baselines().items():
        print(f"listops: {name}: {accuracy:.1%} of the default's test expressions")
    discs, labels = pathfinder_discs(options.images)
    distance = np.linalg.norm(discs[:, 0] - discs[:, 1], axis=1)[:, None]
    print(f"pathfinder: {told_by(distance, labels):.1%} from the distance between the discs")
    print(f"pathfinder: {told_by(discs.reshape(-1, 4), labels):.1%} from where the discs lie")


if __name__ == "__main__":
    main()
