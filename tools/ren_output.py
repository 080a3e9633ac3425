"""Of neural-ssm's REN: its gain as it runs, and as its matrices are certified.

    python tools/ren_output.py

Its ``forward`` reads the output from the state after the update; its matrices are certified for an
output that reads the state before it. One layer (4 channels, states and neurons, gamma = 2) is
pushed towards a larger gain, parameters and input together, then attacked, as tools/peer_audit.py
does. Both figures are for the input that this attack ends with. neural-ssm must be installed.
"""

from __future__ import annotations

import torch
from neural_ssm import REN
from peer_audit import ASCENT, STEPS, amplification
from torch import Tensor, nn
from torch.nn.functional import linear

GAMMA, WIDTH, PUSHES = 2.0, 4, 200


class StateBefore(nn.Module):
    """The same matrices, with the output read before the update of the state."""

    def __init__(self, layer: REN):
        super().__init__()
        self.layer = layer

    def forward(self, u: Tensor) -> Tensor:
        its, outputs = self.layer, []
        x = torch.zeros(len(u), its.dim_internal).to(u)
        for now in u.unbind(1):
            v = linear(x, its.C1) + linear(now, its.D12)
            w = torch.zeros_like(v)
            for _ in range(its.dim_nl):  # D11 is strictly lower triangular: one more entry each
                w = torch.tanh((v + linear(w, its.D11)) / its.Lambda)
            outputs.append(linear(x, its.C2) + linear(w, its.D21) + linear(now, its.D22))
            x = linear(x, its.A_eff) + linear(w, its.B1_eff) + linear(now, its.B2_eff)
        return torch.stack(outputs, 1)


def worst_input(layer: nn.Module, steps: int, pushed: float) -> Tensor:
    """The input (1, STEPS, WIDTH) that Adam ends with; ``pushed``: the steps of the parameters."""
    u = torch.randn(1, STEPS, WIDTH).requires_grad_()
    groups = [{"params": [u], "lr": 0.1}]
    groups += [{"params": list(layer.parameters()), "lr": pushed}] if pushed else []
    optimizer = torch.optim.Adam(groups)
    for _ in range(steps):
        optimizer.zero_grad()
        (-amplification(layer, u, None).log().sum()).backward()
        optimizer.step()
    return u.detach()


def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    layer = REN(WIDTH, WIDTH, WIDTH, WIDTH, gammat=GAMMA)
    with torch.no_grad():
        for parameter in layer.parameters():
            parameter.normal_(0, 0.3)
    worst_input(layer, PUSHES, pushed=0.03)
    u = worst_input(layer, ASCENT, pushed=0.0)
    with torch.no_grad():
        after = float(amplification(layer, u, None))
        before = float(amplification(StateBefore(layer), u, None))
    print(f"gamma {GAMMA:g}: ||y|| / ||u|| = {after:.3f} as it runs")
    print(f"{before:.3f} with the output read before the update")


if __name__ == "__main__":
    main()
