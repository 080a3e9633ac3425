"""Whole networks of the S4 family in plain PyTorch, stated from the published code.

state-spaces/s4 at e757cef: src/models/sequence/{backbones/model,backbones/block,modules/s4block,
kernels/fftconv,kernels/ssm}.py, src/tasks/{encoders,decoders}.py and, for the optimizer's groups,
train.py and src/utils/optim_groups.py. Dropout is zero. Convolutions are written as sums.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn


@dataclass(frozen=True)
class Form:
    """The options of a published config that the tests vary."""

    norm: str
    prenorm: bool
    n_ssm: int
    d_model: int = 6
    d_state: int = 8
    n_layers: int = 2
    #: Of the S4D kernel if 0, of the S4 kernel otherwise.
    rank: int = 0
    #: Sizes of the input and of the prediction; tokens if ``vocabulary`` is positive.
    channels: int = 2
    vocabulary: int = 0
    classes: int = 3


class Kernel(nn.Module):
    """The kernels of both directions: SSMKernelDiag with ``disc=zoh``, or SSMKernelDPLR, whose C is
    a parameter itself here and C (I - A_bar^L) there."""

    def __init__(self, form: Form):
        super().__init__()
        H, S, N = form.d_model, form.n_ssm, form.d_state // 2
        self.inv_dt = nn.Parameter(torch.empty(H, 1).uniform_(-3, 0))
        self.A_real = nn.Parameter(torch.empty(S, N).uniform_(-1, 0))
        self.A_imag = nn.Parameter(torch.empty(S, N).uniform_(0, 6))
        self.B = nn.Parameter(torch.randn(1, S, N, 2))
        self.C = nn.Parameter(torch.randn(2, H, N, 2))
        self.P = nn.Parameter(torch.randn(form.rank, S, N, 2) / 2) if form.rank else None

    def forward(self, length: int) -> Tensor:
        dt = F.softplus(self.inv_dt)
        heads = len(dt) // len(self.A_real)
        A = (-torch.exp(self.A_real) - 1j * self.A_imag).repeat(heads, 1)
        B = torch.view_as_complex(self.B)[0].repeat(heads, 1)
        C = torch.view_as_complex(self.C)
        if self.P is None:
            dtA = dt * A
            steps = torch.exp(dtA[..., None] * torch.arange(length))
            return 2 * torch.einsum("chn,hnl->chl", B * C * (torch.exp(dtA) - 1) / A, steps).real
        P = torch.view_as_complex(self.P).repeat(1, heads, 1)
        A, B, C, P = (torch.cat([v, v.conj()], -1) for v in (A, B, C, P))
        dense = torch.diag_embed(A) - torch.einsum("rhm,rhn->hmn", P, P.conj())
        return self._bilinear(dense, B, C, dt, length)

    @staticmethod
    def _bilinear(A: Tensor, B: Tensor, C: Tensor, dt: Tensor, length: int) -> Tensor:
        eye, half = torch.eye(A.shape[-1]), dt[:, None] / 2 * A
        A_bar = torch.linalg.solve(eye - half, eye + half)
        x = torch.linalg.solve(eye - half, (dt * B)[..., None])
        kernel = []
        for _ in range(length):
            kernel.append(torch.einsum("chn,hn->ch", C, x[..., 0]).real)
            x = A_bar @ x
        return torch.stack(kernel, -1)


class Layer(nn.Module):
    """FFTConv and S4Block with ``final_act: glu``: the convolution in both directions, of which the
    reverse one begins at the next step, GELU, and the gated linear map."""

    def __init__(self, form: Form):
        super().__init__()
        self.D = nn.Parameter(torch.randn(1, form.d_model))
        self.kernel = Kernel(form)
        self.output_linear = nn.Linear(form.d_model, 2 * form.d_model)

    def forward(self, x: Tensor, lengths: Tensor | None) -> Tensor:
        length = x.shape[1]
        if lengths is not None:
            x = x * (torch.arange(length)[:, None] < lengths[:, None, None])
        k0, k1 = self.kernel(length)
        rows = []
        for k in range(length):
            past = sum(k0[:, k - j] * x[:, j] for j in range(k + 1))
            future = sum(k1[:, j - k - 1] * x[:, j] for j in range(k + 1, length))
            rows.append(past + future + self.D[0] * x[:, k])
        return F.glu(self.output_linear(F.gelu(torch.stack(rows, 1))), dim=-1)


class Normalization(nn.Module):
    def __init__(self, form: Form):
        super().__init__()
        kind = nn.BatchNorm1d if form.norm == "batch" else nn.LayerNorm
        self.norm = kind(form.d_model)

    def forward(self, x: Tensor) -> Tensor:
        if isinstance(self.norm, nn.LayerNorm):
            return self.norm(x)
        return self.norm(x.transpose(1, 2)).transpose(1, 2)


class PublishedNetwork(nn.Module):
    """Encoder, blocks, with ``prenorm`` a final norm, and a decoder of the mean over the steps."""

    def __init__(self, form: Form):
        super().__init__()
        self.prenorm = form.prenorm
        if form.vocabulary:
            self.encoder = nn.Embedding(form.vocabulary, form.d_model)
        else:
            self.encoder = nn.Linear(form.channels, form.d_model)
        self.layers = nn.ModuleList(Layer(form) for _ in range(form.n_layers))
        self.norms = nn.ModuleList(Normalization(form) for _ in range(form.n_layers))
        self.norm = Normalization(form) if form.prenorm else nn.Identity()
        self.decoder = nn.Linear(form.d_model, form.classes)

    def forward(self, u: Tensor, lengths: Tensor | None = None) -> Tensor:
        x = self.encoder(u)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = x + layer(norm(x), lengths) if self.prenorm else norm(x + layer(x, lengths))
        x = self.norm(x)
        if lengths is None:
            return self.decoder(x.mean(1))
        means = [row[:length].mean(0) for row, length in zip(x, lengths, strict=True)]
        return self.decoder(torch.stack(means))

    def optimizer(self, lr: float, weight_decay: float, lr_A_B: float) -> torch.optim.Optimizer:
        """AdamW with the groups of a config with ``lr: {dt: null, A: 0.001, B: 0.001}``: hooks turn
        the decay off for norms and biases of the backbone, but not for encoder and decoder."""
        groups = {"A_B": [], "no_decay": [], "others": []}
        for name, parameter in self.named_parameters():
            kind, backbone = name.rpartition(".")[2], name.startswith(("layers", "norm"))
            if kind in ("A_real", "A_imag", "B", "P"):
                groups["A_B"].append(parameter)
            elif kind == "inv_dt" or (backbone and kind == "bias") or name.startswith("norm"):
                groups["no_decay"].append(parameter)
            else:
                groups["others"].append(parameter)
        rates = {"A_B": (lr_A_B, 0.0), "no_decay": (lr, 0.0), "others": (lr, weight_decay)}
        return torch.optim.AdamW(
            [
                {"params": groups[name], "lr": rate, "weight_decay": decay}
                for name, (rate, decay) in rates.items()
            ]
        )
