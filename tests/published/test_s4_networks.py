"""Networks from a config against the published ones: the same prediction and step of AdamW."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ssmbench.build.network import build_network
from ssmbench.build.optimizer import build_optimizer
from ssmbench.config import resolve, typed
from ssmbench.nn.model import SequenceModel
from ssmbench.spec import Channels, TaskSizes, Tokens
from tests.published.s4_networks import Form, Layer, PublishedNetwork

LENGTH, BATCH = 9, 5
LR, DECAY, LR_A_B = 0.01, 0.05, 0.001
FORMS = {
    "S4D, pre-norm, batch": Form("batch", prenorm=True, n_ssm=6),
    "S4D, post-norm, batch": Form("batch", prenorm=False, n_ssm=1),
    "S4D, pre-norm, layer": Form("layer", prenorm=True, n_ssm=2, vocabulary=11),
    "S4D, post-norm, layer": Form("layer", prenorm=False, n_ssm=3),
    "S4, pre-norm, batch": Form("batch", prenorm=True, n_ssm=6, rank=1),
    "S4, post-norm, layer": Form("layer", prenorm=False, n_ssm=1, rank=1, vocabulary=11),
}


def config(form: Form) -> dict:
    ssm = {"name": "s4" if form.rank else "s4d", "d_state": form.d_state, "n_ssm": form.n_ssm}
    ssm |= {"dt_transform": "softplus", "published_groups": True}
    ssm |= {} if form.rank else {"train_B": True}
    model = {
        "d_model": form.d_model,
        "n_layers": form.n_layers,
        "parametrization": ssm,
        "discretizer": "bilinear" if form.rank else "zoh",
        "readout": "after",
        "bidirectional": True,
        "tied": True,
        "reverse_readout": "before",
        "norm": form.norm,
        "norm_position": "pre" if form.prenorm else "post",
        "final_norm": form.norm if form.prenorm else None,
        "nonlinearity": "glu",
        "mix": False,
    }
    groups = [{"pattern": "*.log_dt", "lr": LR}]
    groups += [
        {"pattern": f"{end}.bias", "weight_decay": DECAY}
        for end in ("encoder", "decoder")
        if not (form.vocabulary and end == "encoder")
    ]
    optimizer = {"lr": LR, "ssm_lr": LR_A_B, "weight_decay": DECAY, "groups": groups}
    return resolve({"model": model, "optimizer": optimizer, "task": "digits"})


def pairs(ours: SequenceModel, theirs: PublishedNetwork) -> Iterator[tuple[Tensor, Tensor]]:
    """Each parameter of ours, and its value in the published network: poles there have a negative
    imaginary part, so that B, C and P are the conjugates of those here."""
    conjugate = torch.tensor([1.0, -1.0])
    for block, layer, norm in zip(ours.blocks, theirs.layers, theirs.norms, strict=True):
        assert isinstance(layer, Layer)
        assert block.reverse_layer is not None
        ssm, kernel = block.layer.parametrization, layer.kernel
        C, reverse_C = (kernel.C * conjugate).unbind(0)
        yield ssm.log_dt, kernel.inv_dt[:, 0]
        yield ssm.log_decay, kernel.A_real
        yield ssm.frequency, kernel.A_imag
        yield ssm.B, (kernel.B * conjugate)[0]
        yield ssm.C, C.reshape(ssm.C.shape)
        yield block.reverse_layer.parametrization.C, reverse_C.reshape(ssm.C.shape)
        yield ssm.D, layer.D[0]
        if kernel.P is not None:
            yield ssm.P, (kernel.P * conjugate).permute(1, 2, 0, 3)
        yield block.nonlinearity.linear.weight, layer.output_linear.weight
        yield block.nonlinearity.linear.bias, layer.output_linear.bias
        yield from same_names(block.norm, norm.norm)
    yield from same_names(ours.encoder, theirs.encoder)
    yield from same_names(ours.decoder, theirs.decoder)
    if theirs.prenorm:
        yield from same_names(ours.final_norm, theirs.norm.norm)


def same_names(ours: nn.Module, theirs: nn.Module) -> Iterator[tuple[Tensor, Tensor]]:
    known = dict(ours.named_parameters())
    yield from ((known[name], value) for name, value in theirs.named_parameters())


@pytest.fixture
def single_precision_afterwards() -> Iterator[None]:
    yield
    torch.set_default_dtype(torch.float32)


@pytest.fixture(params=FORMS)
def networks(request, single_precision_afterwards) -> tuple:
    """Both networks with the same parameters, both optimizers, and a batch, in float64."""
    form = FORMS[request.param]
    input = Tokens(form.vocabulary) if form.vocabulary else Channels(form.channels)
    run = typed(config(form))
    torch.manual_seed(0)
    ours = build_network(run, TaskSizes(input, form.classes, LENGTH)).double()
    torch.set_default_dtype(torch.float64)
    theirs = PublishedNetwork(form)
    matched = list(pairs(ours, theirs))
    assert sum(p.numel() for p, _ in matched) == ours.parameter_count()
    assert ours.parameter_count() == sum(p.numel() for p in theirs.parameters())
    with torch.no_grad():
        for mine, published in matched:
            mine.copy_(published)
    optimizers = build_optimizer(ours, run.optimizer), theirs.optimizer(LR, DECAY, LR_A_B)
    return ours, theirs, optimizers, batch(form)


def batch(form: Form) -> tuple[Tensor, Tensor | None]:
    """Sequences, those of tokens of different lengths."""
    if form.vocabulary:
        return torch.randint(form.vocabulary, (BATCH, LENGTH)), torch.tensor([9, 3, 7, 1, 9])
    return torch.randn(BATCH, LENGTH, form.channels), None


def agree(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9)


def test_the_prediction_and_one_step_of_the_optimizer_are_the_published_ones(networks):
    ours, theirs, optimizers, (u, lengths) = networks
    target = torch.arange(BATCH) % 3
    predictions = ours.train()(u, lengths), theirs.train()(u, lengths)
    agree(*predictions)
    for prediction, optimizer in zip(predictions, optimizers, strict=True):
        F.cross_entropy(prediction, target).backward()
        optimizer.step()
    for mine, published in pairs(ours, theirs):
        agree(mine, published)
    with torch.no_grad():  # with the running statistics of batch norms
        agree(ours.eval()(u, lengths), theirs.eval()(u, lengths))
