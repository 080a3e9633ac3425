"""The parts of a result, as immutable typed values. Attribute names are the keys of
``result.json``."""

from __future__ import annotations

from dataclasses import dataclass, field

from ssmbench.results.record import Record


@dataclass(frozen=True)
class LayerMeasure(Record):
    """A measure of an SSM layer beside its gain, the worst over its systems.

    ``name``: with the options that differ from their defaults. The figure is proved to lie from
    ``lower`` to ``upper``, of which an end is infinite where nothing is proved; ``attacked`` is
    what a signal or a search reached. ``declared``: what the parametrization promises of it.
    ``larger_is_worse``: whether the promise is an upper bound. ``scale``: the size of the terms
    that the figure is a difference of. Without figures, ``note`` says why.
    """

    name: str
    value: float | None
    lower: float | None
    upper: float | None
    attacked: float | None
    declared: float | None = None
    larger_is_worse: bool = True
    unit: str = ""
    note: str = ""
    details: dict[str, float] = field(default_factory=dict)
    scale: float = 0.0


@dataclass(frozen=True)
class LayerGains(Record):
    """One SSM layer: L2 gains from its input to its output, and its poles.

    ``promised`` is what its parametrization declares of the continuous system, before sampling.
    ``verified`` is proved not to exceed the gain, and ``verified_bound`` not to lie below it
    (infinite where no proof succeeded); ``unproved`` names the figures that are estimates. Both
    are of exact arithmetic on the stored matrices; ``rounding`` bounds what the layer's own
    precision may add.
    ``note`` says why a gain that the parametrization declares is not the layer's, if its readout or
    a learned initial state is the reason.

    ``claim``: which gain is declared and attacked, "incremental" or "zero-state"; of a
    time-invariant layer both are the same. A time-varying layer has nothing verified, and a
    ``note`` that says so; ``frozen``, the radius and the margin are those of the systems that it is
    at some steps of some inputs. Where it claims a zero-state gain, ``attacked`` is the largest
    ``||y|| / ||u||`` found from the zero state, and ``attacked_incremental`` what was found of
    differences, which nothing bounds; else the attack is incremental, around zero input and its
    inputs. ``measures``: those that the config asks for.
    """

    declared: float | None
    verified: float | None
    attacked: float
    peak_frequency: float
    spectral_radius: float
    margin: float
    promised: float | None = None
    frozen: float | None = None
    note: str = ""
    verified_bound: float | None = None
    unproved: tuple[str, ...] = ()
    rounding: float | None = None
    claim: str = "incremental"
    attacked_incremental: float | None = None
    measures: tuple[LayerMeasure, ...] = ()


@dataclass(frozen=True)
class NetworkGains(Record):
    """The incremental gain of the whole network, from its input to its prediction.

    ``bound`` is composed from what is proved of the layers, and infinite for the ``reason`` given.
    ``claim``: which gain ``declared`` prescribes, "incremental" or "zero-state"; where it is the
    latter, ``zero_state_bound`` is composed of what the layers declare, None if that is not finite,
    and ``zero_state_reason`` says why.
    Where a tighter one was proved, for sequences of ``bound_lengths`` steps, it is that, and
    ``product_bound`` is the composed one; ``product_reason`` says why there is no tighter one.
    ``declared_lengths``: where that bound keeps ``declared``, the lengths of the sequences for
    which it does; where the product does, there are none, and it does for every length.
    ``attacked_from_zero`` is the largest found where the base is zero input; it is the *zero-state*
    gain ``||f(u)|| / ||u||`` where f(0) = 0, else that is None for the ``zero_state_reason``.
    ``gains_from`` is "input", or "encoded input" where the input itself has no norm (tokens).
    """

    declared: float | None
    bound: float
    reason: str
    attacked: float
    attacked_from_zero: float | None = None
    zero_state: float | None = None
    zero_state_reason: str = ""
    gains_from: str = "input"
    claim: str = "incremental"
    zero_state_bound: float | None = None
    product_bound: float | None = None
    product_reason: str = ""
    bound_lengths: tuple[int, ...] = ()
    declared_lengths: tuple[int, ...] = ()


@dataclass(frozen=True)
class Gains(Record):
    """The worst figures over the SSM layers, the layers themselves, and the network.

    ``promised`` and ``declared`` are None unless every layer has the figure. ``arithmetic`` is the
    precision of the network's parameters; ``violations`` has a sentence for every place where
    declared >= verified >= attacked does not hold. ``frozen`` and ``note`` are given where a layer
    is time-varying.
    """

    declared: float | None
    verified: float | None
    attacked: float
    spectral_radius: float
    network: NetworkGains
    promised: float | None = None
    margin: float | None = None
    unproved: tuple[str, ...] = ()
    violations: tuple[str, ...] = ()
    arithmetic: str = "float32"
    layers: tuple[LayerGains, ...] = ()
    note: str = ""
    frozen: float | None = None


@dataclass(frozen=True)
class Scores(Record):
    """The task's metric with the weights that were best on the validation split.

    ``further``: on further test sets by name, None where a prediction was not finite. ``last_val``
    and ``last_test``: with the weights at the end of the training, None where not known.
    """

    val: float
    test: float
    further: dict[str, float | None] | None = None
    last_val: float | None = None
    last_test: float | None = None


@dataclass(frozen=True)
class FurtherTest(Record):
    """The weights that were best in validation on a test set beside ``test``.

    ``score``: None where a prediction was not finite; ``diverged``: whether a prediction or a state
    was not. ``quantity`` and ``value``: in what it differs from the test set, for example 4 of the
    "length factor", or 0.5 of the "share dropped"; "" and None where that is not one number. The
    test set itself, under the name ``test``, is the first point of each quantity. ``state_norms``:
    of each SSM layer the largest l2 norm of the state over the steps of the first sequences,
    relative to that on the test set.
    """

    name: str
    score: float | None
    diverged: bool
    quantity: str = ""
    value: float | None = None
    state_norms: tuple[float, ...] = ()


@dataclass(frozen=True)
class RobustnessPoint(Record):
    """The score under disturbances of one ``kind``, whose l2 norm is ``energy`` times that of a
    typical input; None where a prediction is not finite.

    ``random`` and ``adversarial`` are measured; ``certified`` is proved of all disturbances of that
    norm or a smaller one.
    """

    energy: float
    kind: str
    score: float | None


@dataclass(frozen=True)
class NeighbourFloor(Record):
    """What the nearest-neighbour classifier certifies on the same sequences: ``curve`` of the kind
    ``nearest neighbour`` and the median radius as in :class:`Certified`; none for the ``reason``
    given."""

    curve: tuple[RobustnessPoint, ...] = ()
    median_radius: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class Certified(Record):
    """What the network's proved gain says of its predictions under disturbances.

    ``typical_norm``: the root mean square of the l2 norms of the ``sequences`` that robustness is
    measured on, of the signal ``gains_from`` ("input" or "encoded input"); radii and energies are
    relative to it. ``median_radius``: the median, over the predictions ``of`` each "sequence" or
    "step", of the radius in which the class that is predicted cannot change; 0 where it is wrong.
    ``largest_changes``: of real outputs, by how much each can change under a disturbance of the
    typical norm, in ``unit``; it is proportional to the norm. Of outputs per step it is the l2 norm
    over all steps. There is neither for the ``reason`` given.
    """

    typical_norm: float
    gains_from: str
    sequences: int
    of: str
    reason: str = ""
    median_radius: float | None = None
    largest_changes: tuple[float, ...] = ()
    unit: str = ""
    nearest_neighbour: NeighbourFloor | None = None


@dataclass(frozen=True)
class PublishedScore(Record):
    """A score that a publication reports on a task's test data, in the task's metric and unit.

    ``selected_on``: the part of the data on which the publication chose among weights and options:
    "validation", "test", or "not stated". ``test_set``: "test", or the name of a further test set.
    ``note``: what else sets it apart from the scores of this task, if anything.
    """

    model: str
    score: float
    source: str
    selected_on: str = "not stated"
    test_set: str = "test"
    note: str = ""


@dataclass(frozen=True)
class TaskFacts(Record):
    """What a reader of the scores must know; ``source`` says where the data are from.

    ``baselines``: test scores of predictors that learn nothing of the task, by name.
    The first one predicts a constant. ``published``: scores of publications, none where the task's
    options are not theirs. ``classifies``: whether the score is a share of test items that are
    right. ``test_sequences``: their number in the test split, None where not known.
    """

    name: str
    source: str
    metric: str
    higher_is_better: bool
    unit: str
    data_digest: str = ""
    baselines: dict[str, float] | None = None
    published: tuple[PublishedScore, ...] = ()
    classifies: bool = False
    test_sequences: int | None = None


@dataclass(frozen=True)
class PluginFacts(Record):
    """A plugin that was loaded: its name, its file, and what identifies its source: a digest, and
    the version of the package that it came in (empty for a file of its own)."""

    name: str
    file: str = ""
    digest: str = ""
    version: str = ""


@dataclass(frozen=True)
class Environment(Record):
    """What a result was computed with.

    ``device`` is where the network was trained, which its speed is of; ``measured_on`` is where its
    gains and its robustness were computed.
    """

    device: str
    threads: int
    measured_on: str = ""
    cpus: int | None = None
    python: str = ""
    packages: dict[str, str | None] | None = None
    plugins: tuple[PluginFacts, ...] = ()


@dataclass(frozen=True)
class ImportedFrom(Record):
    """Where the weights of an imported run are from.

    ``file``: its name, with the digest of its content; ``layout`` and ``options``: how it was read;
    ``left_out``: keys that were not used; ``when``: time of the import, UTC, ISO 8601.
    """

    file: str
    sha256: str
    layout: str
    options: dict[str, str]
    left_out: tuple[str, ...]
    when: str

    def __str__(self) -> str:
        how = ", ".join((self.layout, *(f"{k} {v}" for k, v in self.options.items())))
        return f"given, not trained by the config: from {self.file} ({how})"
