"""Conformance checks of norms: shape, padding, and the declared Lipschitz constant."""

from __future__ import annotations

import torch
from torch import Tensor

from ssmbench.nn.contracts import check_built, check_norm
from ssmbench.nn.norms.base import Norm
from ssmbench.testing.modules import check_parameter_gradients, gradient_of, randomise
from ssmbench.testing.report import NotApplicable, Subject, skip_unless
from ssmbench.testing.shifted import check_shifted


def builds(subject: Subject) -> None:
    """It can be built, with finite parameters of torch's default dtype."""
    check_built(subject.entry, subject.build(d_model=4), Norm)


def keeps_shape_and_precision(subject: Subject) -> None:
    """The output has the shape and the dtype of the input, in training and in evaluation."""
    x = torch.randn(3, 5, 4)
    for dtype in (torch.float32, torch.float64):
        for training in (True, False):
            module = subject.build(d_model=4).to(dtype).train(training)
            y = module(x.to(dtype))
            check_norm(module, x.to(dtype), y)
            assert y.dtype == dtype, f"the output is {y.dtype} for an input in {dtype}"


def every_gradient_is_finite(subject: Subject) -> None:
    """The output depends on the input and on every parameter, with finite gradients."""
    module, x = subject.build(d_model=4), torch.randn(3, 5, 4, requires_grad=True)
    module(x).pow(3).sum().backward()
    assert torch.isfinite(gradient_of(x)).all(), "the gradient of the input is not finite"
    check_parameter_gradients(module)


def takes_an_empty_batch(subject: Subject) -> None:
    """A batch without sequences has an empty output and leaves every buffer finite."""
    module = subject.build(d_model=4)
    assert module(torch.zeros(0, 5, 4)).shape == (0, 5, 4), "the output of no sequences has some"
    finite = all(bool(torch.isfinite(b).all()) for b in module.buffers())
    assert finite, "a buffer is not finite after a batch without sequences"


def steps_are_independent(subject: Subject) -> None:
    """In evaluation, and in training unless it declares ``reads_batch``, the output at a step
    depends on the input at that step only."""
    module, x = subject.build(d_model=4).double(), torch.randn(3, 5, 4, dtype=torch.float64)
    for training in (False, True)[: 1 if module.reads_batch else 2]:
        module.train(training)
        alone = torch.cat([module(step) for step in x.reshape(15, 1, 1, 4)]).reshape(x.shape)
        message = "the output at a step depends on other steps; declare reads_batch"
        assert torch.allclose(module(x), alone, rtol=1e-9), message


def padding_has_no_influence(subject: Subject) -> None:
    """Values after the end of a sequence change no valid output and no buffer, in training."""
    lengths = torch.tensor([5, 2, 3])
    valid = torch.arange(5) < lengths[:, None]
    x = torch.randn(3, 5, 4, dtype=torch.float64)
    filled = torch.where(valid[..., None], x, 100.0)
    before, after = _trained(subject, x, lengths), _trained(subject, filled, lengths)
    assert torch.equal(before[0][valid], after[0][valid]), "padding changes valid outputs"
    same = all(map(torch.equal, before[1], after[1]))
    assert same, "padding changes a buffer"


def lipschitz_constant_as_declared(subject: Subject) -> None:
    """Jacobians in evaluation do not exceed the bound; where there is none, a reason is given."""
    module = subject.build(d_model=4).double().eval()
    bound = module.bound()
    if not bound.finite:
        assert bound.reason, "declares no Lipschitz constant and gives no reason"
        raise NotApplicable(f"declares no Lipschitz constant: {bound.reason}")
    slope = max(_slope(module, scale) for scale in (0.0, 1e-3, 0.1, 1.0, 10.0))
    assert slope <= bound.value * (1 + 1e-9), f"declares {bound.value}, but has a slope of {slope}"
    form = module.shifted(4)
    assert form is not None, "has a bound, but no shifted form"
    x, step = torch.randn(2, 400, 4, dtype=torch.float64)
    check_shifted(form, step, module((x + step)[None])[0] - module(x[None])[0])


def maps_zero_to_zero_as_declared(subject: Subject) -> None:
    """Where it is declared that zero is mapped to zero, it is for random parameters."""
    module = subject.build(d_model=4).eval()
    skip_unless(module.maps_zero_to_zero, "does not declare that zero is mapped to zero")
    randomise(module, 1.0)
    assert not module(torch.zeros(1, 3, 4)).any(), "does not map zero to zero, as it declares"


CHECKS = (
    builds,
    keeps_shape_and_precision,
    every_gradient_is_finite,
    takes_an_empty_batch,
    steps_are_independent,
    padding_has_no_influence,
    lipschitz_constant_as_declared,
    maps_zero_to_zero_as_declared,
)


def _trained(subject: Subject, x: Tensor, lengths: Tensor) -> tuple[Tensor, list[Tensor]]:
    """The output in training mode, and the buffers after it."""
    torch.manual_seed(0)
    module = subject.build(d_model=4).double().train()
    return module(x, lengths), list(module.buffers())


def _slope(module: Norm, scale: float) -> float:
    """The largest spectral norm of the Jacobian at random steps of this size."""
    points = scale * torch.randn(20, 1, 1, 4, dtype=torch.float64)
    jacobians = [torch.autograd.functional.jacobian(module, point) for point in points]
    matrices = torch.stack([j.reshape(4, 4) for j in jacobians])
    return torch.linalg.matrix_norm(matrices, 2).max().item()
