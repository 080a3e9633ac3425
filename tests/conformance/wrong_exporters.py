"""Wrong exporters."""

from __future__ import annotations

import dataclasses

import numpy as np

from ssmbench.errors import UsageError
from ssmbench.program.reference import Network
from tests.conformance.wrong import Wrong, example

JsonText = example("exporter").factory


def refuses(config):
    raise UsageError("not here")


class ForgetsTheState(JsonText):
    """Every sequence begins in the initial state."""

    def read(self, files):
        network = super().read(files)
        run = network.sequence
        network.sequence = lambda u, state=None: run(u)
        return network


class AnotherState(JsonText):
    """The state after a sequence is the one before it."""

    def read(self, files):
        network = super().read(files)
        run = network.sequence

        def sequence(u, state=None):
            before = network.initial(len(u)) if state is None else state
            return run(u, before)[0], before

        network.sequence = sequence
        return network


class WithoutScales(JsonText):
    """The codes of int8 count as the numbers."""

    def write(self, program, metadata, files):
        def bare(operation, name, stored):
            return dataclasses.replace(stored, scale=None)

        super().write(program.with_arrays(bare), metadata, files)


class LeavesOut(JsonText):
    def write(self, program, metadata, files):
        super().write(program, {"output": metadata["output"]}, files)


class WritesMore(JsonText):
    def write(self, program, metadata, files):
        super().write(program, metadata, files)
        files[0].with_name("more.txt").write_text("more")


class ReadsAnything(JsonText):
    def read(self, files):
        try:
            return super().read(files)
        except UsageError:
            nothing = {"operations": [], "vocabulary": None, "per_step": True}
            return Network(nothing, {"initial": np.zeros(0)}, np.float32)


def exporter(check, factory, says, **more):
    return Wrong("exporter", check, factory, says, **more)


WRONG = (
    exporter("builds", refuses, "not here"),
    exporter(
        "agrees_with_the_reference",
        ForgetsTheState,
        "step 1 differs",
        also=("weights_in_fewer_bits_agree",),
    ),
    exporter(
        "agrees_with_the_reference",
        AnotherState,
        "the state after the sequence differs",
        also=("weights_in_fewer_bits_agree",),
    ),
    exporter(
        "weights_in_fewer_bits_agree",
        WithoutScales,
        "int8: the sequence differs",
        also=("agrees_with_the_reference",),
    ),
    exporter("every_file_keeps_the_metadata", LeavesOut, "metadata"),
    exporter("every_file_keeps_the_metadata", WritesMore, "more.txt"),
    exporter("another_file_is_refused", ReadsAnything, "is read as a network"),
)
