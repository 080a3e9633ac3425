"""The plugin author's first hour: typical mistakes, each one file, through the command line.

Each must end in one sentence that names the author's file and line, with exit code 2 or a failed
run, and never in a traceback.
"""

from __future__ import annotations

import re
import textwrap
from dataclasses import dataclass

import pytest

PARAMETRIZATION = """
from dataclasses import dataclass
import torch
from torch import nn
from ssmbench.parametrizations.base import Parametrization
from ssmbench.registry import parametrizations
from ssmbench.systems import ContinuousDiagonal, DiscreteDiagonal

@dataclass
class Config:
    d_state: int = 3

@parametrizations.register("{name}", config={config})
class Mine({base}):
    \"\"\"A bank of decaying modes.\"\"\"

    system_type = DiscreteDiagonal
    stable_by_construction = True

    def __init__(self, config, *, d_model):
        {init}
        self.C = nn.Parameter({C})

    def forward(self):
        H, _, N = self.C.shape
        lam = torch.full((H, N), 0.5)
        B, D = torch.ones(H, N, 1), torch.zeros(H, 1, 1)
        {returns}
"""

DEFAULTS = {
    "name": "mine",
    "config": "Config",
    "base": "Parametrization",
    "init": "super().__init__()",
    "C": "torch.randn(d_model, 1, config.d_state)",
    "returns": "return DiscreteDiagonal(lam=lam, B=B, C=self.C, D=D)",
}


def parametrization(**parts: str) -> str:
    return PARAMETRIZATION.format(**DEFAULTS | parts)


DISCRETIZER = """
from ssmbench.discretizers.base import Discretizer
from ssmbench.registry import discretizers

@discretizers.register("mine")
class Mine(Discretizer):
    \"\"\"Forgets to discretize.\"\"\"

    def __call__(self, system):
        return system

    def diagonal(self, system):
        return system

    def dense(self, system):
        return system
"""

SCAN = """
from ssmbench.registry import scans
from ssmbench.scans.reference import ReferenceScan

@scans.register("mine")
class Mine(ReferenceScan):
    \"\"\"Forgets a step.\"\"\"

    def __call__(self, system, u, x0=None):
        y, x_final = super().__call__(system, u, x0)
        return y[:, 1:], x_final
"""

NONLINEARITY = """
from ssmbench.nn.nonlinearities.base import Nonlinearity
from ssmbench.registry import nonlinearities

@nonlinearities.register("mine")
class Mine(Nonlinearity):
    \"\"\"Doubles the channels.\"\"\"

    def forward(self, x):
        return x.repeat(1, 1, 2)
"""

NORMALISER = """
from dataclasses import replace
from ssmbench.normalisers.base import NormaliserConfig
from ssmbench.normalisers.gain import {base}
from ssmbench.registry import normalisers

@normalisers.register("mine", config=NormaliserConfig)
class Mine({base}):
    \"\"\"Changes the precision.\"\"\"

    def __call__(self, system):
        return super().__call__(system).double()
"""

OPTIMIZER = """
import torch
from ssmbench.optimizers.base import OptimizerConfig
from ssmbench.registry import optimizers

@optimizers.register("mine", config=OptimizerConfig)
def mine(config, *, groups):
    \"\"\"Trains the first group alone.\"\"\"
    return torch.optim.SGD(groups[:1])
"""


ENCODER = """
import torch
from torch import nn
from ssmbench.nn.encoders.base import Encoder
from ssmbench.registry import encoders

@encoders.register("mine")
class Mine(Encoder):
    \"\"\"Leaves a step out.\"\"\"

    def __init__(self, config, *, input, length, d_model):
        super().__init__()
        self.linear = nn.Linear(input.count, d_model)

    def forward(self, u, start=0):
        return self.linear(u[:, 1:])
"""

DECODER = """
import torch
from torch import nn
from ssmbench.nn.decoders.base import Decoder
from ssmbench.registry import decoders
from ssmbench.spec import Reading

@decoders.register("mine")
class Mine(Decoder):
    \"\"\"Forgets to pool.\"\"\"

    reads = Reading.sequence

    def __init__(self, config, *, sizes, d_model, pooling):
        super().__init__()
        self.linear = nn.Linear(d_model, sizes.outputs)

    def forward(self, x, lengths=None, gain=None):
        return self.linear(x)
"""

TASK = """
import torch
from torch.nn.functional import mse_loss
from torchmetrics import MeanSquaredError, MetricCollection
from ssmbench.registry import tasks
from ssmbench.spec import Channels, TaskSizes
from ssmbench.tasks.base import Task
from ssmbench.tasks.sequences import Sequences, Splits

@tasks.register("mine")
class Mine(Task):
    \"\"\"Noise of other sizes than declared.\"\"\"

    score, higher_is_better, source = "mse", False, "noise"

    @property
    def sizes(self):
        return TaskSizes(Channels(1), outputs=1, length=8, per_step=True)

    def load(self):
        u = {u}
        return Splits(*[Sequences(u, torch.zeros(40, 8, 1))] * 3)

    def loss(self, prediction, target):
        return mse_loss(prediction, target)

    def metrics(self):
        return MetricCollection({{"mse": MeanSquaredError()}})
"""


@dataclass(frozen=True)
class Mistake:
    """A plugin's source, and what must be said of it.

    ``line``: a part of the line of the source that the sentence must name. ``part``: where the run
    config names the plugin.
    """

    source: str
    says: str
    line: str | None = None
    part: str = "parametrization"
    fails: bool = False
    overrides: tuple[str, ...] = ()


MISTAKES = {
    "complex output": Mistake(
        parametrization(
            returns="return DiscreteDiagonal(lam=lam * 1j, B=B + 0j, C=self.C + 0j, D=D)"
        ),
        r"the layer's output is complex, .* DiscreteDiagonal with complex B, C, lam; pass "
        r"conjugate=True",
        "def forward",
    ),
    "wrong shape of B": Mistake(
        parametrization(returns="return DiscreteDiagonal(lam=lam, B=B[:, 1:], C=self.C, D=D)"),
        r"DiscreteDiagonal\.B has shape \(4, 2, 1\), but with .* it must be \(4, 3, 1\)",
        "B=B[:, 1:]",
    ),
    "a tuple": Mistake(
        parametrization(returns="return lam, B, self.C, D"),
        r"returns a tuple, but the class declares system_type = DiscreteDiagonal; build one",
        "def forward",
    ),
    "numpy": Mistake(
        parametrization(returns="return lam.numpy()"),
        r"returns a numpy.ndarray, but the class declares system_type = DiscreteDiagonal",
        "def forward",
    ),
    "another type of system": Mistake(
        parametrization(
            returns="return ContinuousDiagonal(lam=-lam, B=B, C=self.C, D=D, dt=torch.ones(H))"
        ),
        r"returns a ContinuousDiagonal, but the class declares system_type = DiscreteDiagonal",
        "def forward",
    ),
    "float64 parameters": Mistake(
        parametrization(C="torch.randn(d_model, 1, config.d_state).double()"),
        r"the parameter C is float64; parameters must be float32 or complex64",
        "@parametrizations.register",
    ),
    "parameters on another device": Mistake(
        parametrization(C='torch.randn(d_model, 1, config.d_state, device="meta")'),
        r"the parameter C is on the device meta; create parameters on cpu",
        "@parametrizations.register",
    ),
    "a tensor on another device": Mistake(
        parametrization(returns='return DiscreteDiagonal(lam=lam.to("meta"), B=B, C=self.C, D=D)'),
        r"returns lam on the device meta, but its parameters are on cpu; create tensors with",
        "def forward",
    ),
    "parameters that are not finite": Mistake(
        parametrization(C="torch.full((d_model, 1, config.d_state), torch.nan)"),
        r"the parameter C is not finite right after construction",
        "@parametrizations.register",
    ),
    "a system that is not finite": Mistake(
        parametrization(returns="return DiscreteDiagonal(lam=lam / 0, B=B, C=self.C, D=D)"),
        r"returns lam with values that are not finite, for finite parameters",
        "def forward",
    ),
    "no super().__init__()": Mistake(
        parametrization(init="pass"),
        r"cannot assign parameters before Module.__init__\(\) call",
        "self.C = nn.Parameter",
    ),
    "another number of states": Mistake(
        parametrization(C="torch.randn(d_model, 1, config.d_state + 1)"),
        r"returns a system of 4 states per head, but its config declares d_state=3",
        "def forward",
    ),
    "another number of channels": Mistake(
        parametrization(C="torch.randn(d_model + 1, 1, config.d_state)"),
        r"returns 5 heads of 1 inputs each; together they must be d_model=4",
        "def forward",
    ),
    "an error inside forward": Mistake(
        parametrization(returns='raise ValueError("no such basis")'),
        r"ValueError: no such basis",
        "raise ValueError",
        fails=True,
    ),
    "a typo in an option's name": Mistake(
        parametrization(),
        r"d_sate.*d_state",
        overrides=("model.parametrization.d_sate=4",),
    ),
    "a config that is no dataclass": Mistake(
        parametrization(config="dict"),
        r"config=dict must be a dataclass",
        "@parametrizations.register",
    ),
    "a class without the base": Mistake(
        parametrization(base="nn.Module"),
        r"the class Mine must derive from ssmbench\.parametrizations\.base\.Parametrization",
        "@parametrizations.register",
    ),
    "no type of system": Mistake(
        parametrization().replace("system_type = DiscreteDiagonal", "pass"),
        r"system_type must be the type of system that forward returns",
        "@parametrizations.register",
    ),
    "sys.exit at import": Mistake(
        "import sys\n\nsys.exit(3)\n" + parametrization(),
        r"SystemExit: 3",
        "sys.exit(3)",
    ),
    "a syntax error": Mistake(
        parametrization(returns="return DiscreteDiagonal(lam="), r"SyntaxError", "DiscreteDiagonal("
    ),
    "an error at import": Mistake(
        "import no_such_module_anywhere\n" + parametrization(),
        r"ModuleNotFoundError: No module named 'no_such_module_anywhere'",
        "import no_such_module_anywhere",
    ),
    "a continuous system of a discretizer": Mistake(
        DISCRETIZER,
        r"discretizes a ContinuousDiagonal into a ContinuousDiagonal; it must be a DiscreteSystem",
        "@discretizers.register",
        part="discretizer",
    ),
    "outputs of another length": Mistake(
        SCAN,
        r"returns y \(B, L, H, p\) of shape \(32, 63, 4, 1\); it must be \(32, 64, 4, 1\)",
        "def __call__",
        part="scan",
    ),
    "more channels than the input has": Mistake(
        NONLINEARITY,
        r"returns the output \(B, L, d_model\) of shape \(32, 64, 8\); it must be \(32, 64, 4\)",
        "def forward",
        part="nonlinearity",
    ),
    "another precision": Mistake(
        NORMALISER.format(base="HinfNormaliser"),
        r"changes B from \w+ on cpu to \w+ on cpu; a normaliser keeps both",
        "@normalisers.register",
        part="normaliser",
    ),
    "features of another length": Mistake(
        ENCODER,
        r"returns features \(B, L, d_model\) of shape \(32, 63, 4\); it must be \(32, 64, 4\)",
        "def forward",
        part="encoder",
    ),
    "predictions of another shape": Mistake(
        DECODER,
        r"returns the prediction of shape \(32, 64, 10\); it must be \(32, 10\)",
        "def forward",
        part="decoder",
    ),
    "data of another shape than declared": Mistake(
        TASK.format(u="torch.randn(40, 8, 2)"),
        r"the split train: u has the shape \(B, 8, 2\); the task's sizes declare channels, "
        r"\(B, L, 1\)",
        "def load",
        part="task",
    ),
    "data in double precision": Mistake(
        TASK.format(u="torch.randn(40, 8, 1).double()"),
        r"the split train: u is float64; channels must be float32",
        "def load",
        part="task",
    ),
    "data that are not finite": Mistake(
        TASK.format(u="torch.full((40, 8, 1), torch.nan)"),
        r"the split train: u is not finite",
        "def load",
        part="task",
    ),
    "parameters left out": Mistake(
        OPTIMIZER,
        r"trains \d+ of the \d+ parameters that it is given in groups",
        "@optimizers.register",
        part="optimizer",
    ),
}


def config_with(tiny: dict, part: str) -> dict:
    """The run config with the plugin in one of its parts."""
    if part in ("optimizer", "task"):
        return tiny | {part: {"name": "mine"}}
    changed = {part: "mine"} | ({"discretizer": None} if part == "parametrization" else {})
    return tiny | {"model": tiny["model"] | changed}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_mistake_is_named_with_its_file_and_line(name, ssmbench, write, tiny):
    mistake = MISTAKES[name]
    write("plugins/mine.py", textwrap.dedent(mistake.source).lstrip())
    config = write("run.yaml", config_with(tiny, mistake.part))
    answer = ssmbench("run", config, *mistake.overrides, "--output", "out")
    assert answer.code == (1 if mistake.fails else 2), answer
    said = " ".join((answer.out if mistake.fails else answer.err).split())
    assert re.search(mistake.says, said), said
    if mistake.line:
        assert f"mine.py:{line_of(mistake)}" in said, said
    assert "Traceback" not in answer.out + answer.err


def line_of(mistake: Mistake) -> int:
    lines = textwrap.dedent(mistake.source).lstrip().splitlines()
    (line,) = (k for k, text in enumerate(lines, 1) if mistake.line in text)
    return line


def test_a_failed_run_points_to_the_whole_traceback(ssmbench, write, tiny, workplace):
    source = parametrization(returns='raise ValueError("no such basis")').lstrip()
    write("plugins/mine.py", source)
    ssmbench("run", write("run.yaml", config_with(tiny, "parametrization")), "--output", "out")
    (trace,) = workplace.glob("out/*/error.txt")
    assert "no such basis" in trace.read_text()
    (status,) = workplace.glob("out/*/status.json")
    shown = trace.relative_to(workplace)
    assert f"in forward; full traceback: {shown})" in status.read_text()


def test_a_name_that_is_taken_is_said_and_the_built_in_stays(ssmbench, write, tiny):
    write("plugins/mine.py", parametrization(name="s4d").lstrip())
    answer = ssmbench("run", write("run.yaml", tiny), "--dry-run")
    assert answer.code == 0
    assert re.search(r"parametrization 's4d' is defined twice: .*s4d\.py:\d+", answer.err)
    assert "mine.py:12" in answer.err


def test_what_a_plugin_prints_at_import_stays_out_of_the_answer(ssmbench, write, tiny):
    write("plugins/mine.py", 'print("hello")\n' + parametrization())
    config = write("run.yaml", config_with(tiny, "parametrization"))
    answer = ssmbench("run", config, "--dry-run", "--json")
    assert answer.code == 0
    assert answer.out.startswith("{")
    assert "hello" in answer.err


def test_without_a_mistake_the_run_completes(ssmbench, write, tiny):
    write("plugins/mine.py", parametrization().lstrip())
    config = write("run.yaml", config_with(tiny, "parametrization"))
    answer = ssmbench("run", config, "--output", "out")
    assert answer.code == 0, answer.err
