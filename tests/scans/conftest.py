"""Lets several processes share the cases of one file."""

import os


def pytest_collection_modifyitems(config, items):
    """Keep every n-th case, from the k-th on, where SSMBENCH_TEST_SHARD=k/n is set."""
    shard = os.environ.get("SSMBENCH_TEST_SHARD")
    if not shard:
        return
    first, step = map(int, shard.split("/"))
    kept = items[first::step]
    config.hook.pytest_deselected(items=[item for item in items if item not in set(kept)])
    items[:] = kept
