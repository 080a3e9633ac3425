"""S4 and S4D: torch parameters of state-spaces/s4, of its example and of its full code."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ssmbench.errors import require
from ssmbench.importers.base import Imported, Importer
from ssmbench.importers.parts import (
    NormPart,
    State,
    identity,
    one_component,
    prefixed,
    torch_linear,
)
from ssmbench.importers.s4_kernels import Kernel, full_kernel, minimal_kernel
from ssmbench.importers.weights import Weights
from ssmbench.options import one_of, option
from ssmbench.registry import importers
from ssmbench.spec import Channels, SequenceSpec, Tokens

#: torch's LayerNorm and BatchNorm1d.
_EPS = 1e-5
#: The published layer norm of transposed signals has none; ours needs a positive one.
_NO_EPS = 1e-12
_NO_ENDS = "a checkpoint without encoder or decoder: the identity takes its place"


@dataclass
class S4ImportConfig:
    """Arguments of the published code: ``prenorm`` (of the example; the full code's shows in its
    keys), ``dt_transform`` (auto: softplus for the full code, as in its configs, exp for the
    example), ``disc`` (of diagonal kernels), ``pooling`` (none: a prediction at each step).
    """

    prenorm: bool = False
    dt_transform: str = option("auto", one_of("auto", "exp", "softplus"))
    disc: str = option("zoh", one_of("zoh", "bilinear"))
    pooling: str = option("mean", one_of("mean", "last", "none"))


@dataclass(frozen=True)
class _Names:
    """Where the parts of a network are: of the example, or of the full code."""

    block: str
    norm: str
    encoder: str
    decoder: str
    full: bool


_EXAMPLE = _Names("s4_layers.{}.", "norms.{}.", "encoder.", "decoder.", False)
_FULL = _Names(
    "model.layers.{}.layer.",
    "model.layers.{}.norm.norm.",
    "encoder.0.",
    "decoder.0.output_transform.",
    True,
)


@importers.register(
    "s4",
    config=S4ImportConfig,
    citation="state-spaces/s4 at e757cef: example.py with models/s4/s4d.py or models/s4/s4.py, and "
    "src/models/sequence/backbones/model.py with src/models/sequence/kernels/ssm.py",
)
class S4Importer(Importer):
    """S4 and S4D networks of state-spaces/s4: of example.py, and checkpoints of the full code.

    Kernels may be diagonal, real, or normal plus low rank; shared among features (n_ssm) and
    bidirectional. Blocks are those of LRA's configs: GELU, GLU, residual connection, layer or batch
    norm. ``C~ = C (I - A_bar^L)``, which the code stores, becomes C.
    """

    mark = r"(s4_layers\.0|model\.layers\.0\.layer)\..*"

    def read(self, weights: Weights) -> Imported:
        full = weights.under("model.layers.").has_any()
        names = _FULL if full else _EXAMPLE
        start = names.block.partition("{}")[0]
        count = weights.numbered(start)
        kernels, norms, state = [], [], State()
        for index in range(count):
            block = weights.under(names.block.format(index))
            kernels.append(self._kernel(block, full))
            norm = _norm(weights.under(names.norm.format(index)))
            norms.append(norm.component)
            parts = {f"{n}.parametrization.": s for n, s in kernels[-1].states().items()}
            parts |= {"norm.": norm.state, "nonlinearity.linear.": _output(block)}
            for name, part in parts.items():
                state |= prefixed(f"blocks.{index}.{name}", part)
        final = _norm(weights.under("model.norm.norm."))
        prenorm = final.component["name"] != "none" if full else self.config.prenorm
        state |= prefixed("final_norm.", final.state)
        width = weights.size("H")
        ends = _ends(weights, names, width)
        model = {
            "d_model": width,
            "n_layers": count,
            **one_component(weights, [kernel.model for kernel in kernels], "kernels"),
            "norm": one_component(weights, norms, "norms"),
            "norm_position": "pre" if prenorm else "post",
            "final_norm": final.component if final.state else None,
            "nonlinearity": {"name": "glu", "form": "full", "gelu": "exact"},
            "mix": False,
            "residual": "add",
            "pooling": "mean" if self.config.pooling == "none" else self.config.pooling,
            **ends.model,
        }
        per_step = self.config.pooling == "none" or not ends.decoded
        return Imported(model, ends.input, ends.outputs, state | ends.state, per_step, ends.notes)

    def _kernel(self, block: Weights, full: bool) -> Kernel:
        layer = block.under("layer.")
        if not layer.has_any():
            return minimal_kernel(block)
        chosen = self.config.dt_transform
        auto = "softplus" if full else "exp"
        transform = auto if chosen == "auto" else chosen
        return full_kernel(layer, dt_transform=transform, disc=self.config.disc)

    @classmethod
    def example(cls) -> Mapping[str, np.ndarray]:
        random, M, H = np.random.default_rng(0), 3, 4
        layer = {
            "D": random.standard_normal(H),
            "kernel.C": random.standard_normal((H, M, 2)),
            "kernel.log_dt": random.uniform(-5.0, -1.0, H),
            "kernel.log_A_real": random.uniform(-1.0, 1.0, (H, M)),
            "kernel.A_imag": random.uniform(0.0, 9.0, (H, M)),
            "output_linear.0.weight": random.standard_normal((2 * H, H, 1)) / 2,
            "output_linear.0.bias": random.standard_normal(2 * H),
        }
        return {
            "encoder.weight": random.standard_normal((H, 2)),
            "encoder.bias": random.standard_normal(H),
            **{f"s4_layers.0.{name}": array for name, array in layer.items()},
            "norms.0.weight": np.ones(H),
            "norms.0.bias": np.zeros(H),
            "decoder.weight": random.standard_normal((3, H)),
            "decoder.bias": random.standard_normal(3),
        }


def _output(block: Weights) -> State:
    """The linear map of the GLU; in the example a convolution of width 1."""
    width, name = block.size("H"), "output_linear.0.weight"
    convolution = len(block.shape(name)) == 3
    weight = block.take(name, 2 * width, "H", *([1] if convolution else []))
    bias = block.take("output_linear.0.bias", 2 * width)
    return {"weight": weight.reshape(2 * width, width), "bias": bias}


def _norm(norm: Weights) -> NormPart:
    """The norm of these arrays; none where there are none."""
    if norm.has("m"):
        width = norm.size("H")
        scale, shift = norm.take("s", 1), norm.take("m", 1)
        require(
            not shift.any(),
            f"{norm.source}: the layer norm of transposed signals adds m before it divides by the "
            "signal's spread, which our norms do not; only m = 0 can be imported",
        )
        state = {"weight": scale.expand(width), "bias": shift.expand(width)}
        return NormPart({"name": "layer", "eps": _NO_EPS}, state)
    if not norm.has_any():
        return NormPart({"name": "none"}, {})
    state = {"weight": norm.take("weight", "H"), "bias": norm.take("bias", "H")}
    if not norm.has("running_mean"):
        return NormPart({"name": "layer", "eps": _EPS}, state)
    norm.leave_out("num_batches_tracked")
    state |= {
        "mean": norm.take("running_mean", "H"),
        "variance": norm.take("running_var", "H"),
    }
    return NormPart({"name": "batch", "eps": _EPS}, state)


@dataclass(frozen=True)
class _Ends:
    model: dict[str, Any]
    input: SequenceSpec
    outputs: int
    state: State
    decoded: bool
    notes: tuple[str, ...]


def _ends(weights: Weights, names: _Names, width: int) -> _Ends:
    """Encoder (an embedding where it has no bias) and decoder, or the identity in their place."""
    encoder, decoder = weights.under(names.encoder), weights.under(names.decoder)
    encoded = not weights.partial or encoder.has_any()
    decoded = not weights.partial or decoder.has_any()
    model: dict[str, Any] = {}
    reads: SequenceSpec = Channels(width)
    outputs, state = width, prefixed("decoder.", identity(width))
    if encoded and names.full and not encoder.has("bias"):
        state["encoder.weight"] = encoder.take("weight", "vocabulary", "H")
        model["encoder"], reads = "embedding", Tokens(weights.size("vocabulary"))
    elif encoded:
        linear = torch_linear(weights, names.encoder.removesuffix("."), "H", "inputs")
        state |= prefixed("encoder.", linear)
        reads = Channels(weights.size("inputs"))
    else:
        state |= prefixed("encoder.", identity(width))
    if decoded:
        linear = torch_linear(weights, names.decoder.removesuffix("."), "outputs", "H")
        state |= prefixed("decoder.", linear)
        outputs = weights.size("outputs")
    notes = () if encoded and decoded else (_NO_ENDS,)
    return _Ends(model, reads, outputs, state, decoded, notes)
