"""An adversary of layers that a signal apart from their input selects: both are chosen."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor

#: Largest move of a selection in one ascent, relative to its root mean square.
_MOVE = 0.1


def selected_gain(
    function: Callable[[Tensor, Tensor], Tensor],
    u: Float[Tensor, "n L d"],
    selection: Float[Tensor, "n L s"],
    restarts: int,
    steps: int,
    seed: int,
) -> float:
    """The largest ``||f(u, s)|| / ||u||`` that an ascent finds over inputs u and selections s.

    For a fixed s the map is linear in u, and its gain is approached by power iteration on f' f;
    each step of it comes with a step of Adam on s, of the logarithm of the ratio. Half of the
    ``restarts`` begin at the given signals, the others at random ones of the same size. What the
    rounding of outputs may add is subtracted.
    """
    generator = torch.Generator().manual_seed(seed)
    starts = [_starts(signal, restarts, generator) for signal in (u, selection)]
    v, s = starts[0], starts[1].requires_grad_()
    size = s.detach().square().mean().sqrt().item() or 1.0
    optimizer = torch.optim.Adam([s], lr=_MOVE * size, maximize=True)
    best = torch.zeros(len(v), dtype=torch.float64, device=v.device)
    for _ in range(steps):
        v = (v / _norms(v)).detach().requires_grad_()
        y = function(v, s)
        best = torch.maximum(best, _ratio(y.detach(), v.detach()))
        heights = torch.linalg.vector_norm(y.flatten(1), dim=1).clamp_min(1e-30).log()
        up, s.grad = torch.autograd.grad(heights.sum(), (v, s))
        s.grad = s.grad.nan_to_num(0.0, 0.0, 0.0)
        optimizer.step()
        v = torch.where(_norms(up) > 0, up, v)
    return best.max().item()


def _starts(signal: Tensor, number: int, generator: torch.Generator) -> Tensor:
    """Half of them sequences of the signal, the others random ones of the same size."""
    data = signal.detach()[torch.arange(number // 2) % len(signal)]
    size = signal.detach().square().mean().sqrt().clamp_min(1e-6)
    shape = (number - number // 2, *signal.shape[1:])
    noise = torch.randn(shape, generator=generator, device="cpu").to(signal)
    return torch.cat([data, size * noise])


def _norms(signals: Tensor) -> Tensor:
    return torch.linalg.vector_norm(signals.flatten(1), dim=1).clamp_min(1e-30)[:, None, None]


def _ratio(y: Tensor, u: Tensor) -> Float[Tensor, " R"]:
    """||y|| / ||u||, less what rounding of the outputs may add; infinite where y is not finite."""
    out, given = (torch.linalg.vector_norm(x.flatten(1).double(), dim=1) for x in (y, u))
    found = out * (1 - torch.finfo(y.dtype).eps) / given
    return found.where(out.isfinite(), torch.inf)
