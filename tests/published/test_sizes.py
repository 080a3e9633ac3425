"""Sizes of published networks from the shapes of the parameters in their code, layer by layer,
against what the files in configs/published state.
"""

from __future__ import annotations

import pytest

from ssmbench.bundled import folder
from ssmbench.config import read_yaml
from tests.published.archive import UEA

ONE_HOT = {"listops": 18, "text": 135, "retrieval": 98}
CLASSES = {"listops": 10, "image": 10, "speech_commands": 35}


def stated(suite: str, label: str) -> int:
    return read_yaml(folder() / "published" / f"{suite}.yaml")["published"]["parameters"][label]


def dense(inputs: int, outputs: int) -> int:
    return inputs * outputs + outputs


def ends(task: str, inputs: int, H: int) -> int:
    """Encoder and decoder; RetrievalDecoder has two layers."""
    classes = CLASSES.get(task, 2)
    head = dense(4 * H, H) if task == "retrieval" else 0
    return dense(inputs, H) + head + dense(H, classes)


@pytest.mark.parametrize(
    ("task", "layers", "H", "ssm_size"),
    [
        ("listops", 8, 128, 16),
        ("text", 6, 256, 192),
        ("retrieval", 6, 128, 256),
        ("image", 6, 512, 384),
        ("pathfinder", 6, 192, 256),
        ("pathx", 6, 128, 256),
        ("speech_commands", 6, 96, 128),
    ],
)
def test_s5(task, layers, H, ssm_size):
    """S5SSM.setup and SequenceLayer.setup, with conj_sym, bidirectional, half_glu and batchnorm."""
    P = ssm_size // 2
    ssm = 3 * P + 2 * P * H + 2 * (2 * H * P) + H  # Lambda_re, Lambda_im, log_step; B; C1, C2; D
    layer = ssm + 2 * H + dense(H, H)
    inputs = ONE_HOT.get(task, 1) if task != "listops" else 20  # IN_DIM of s5/dataloading.py
    assert stated("s5", f"{task}/S5") == layers * layer + ends(task, inputs, H)


@pytest.mark.parametrize(
    ("task", "H", "N"),
    [
        ("listops", 128, 256),
        ("text", 256, 192),
        ("retrieval", 128, 256),
        ("image", 512, 384),
        ("pathfinder", 192, 256),
        ("pathx", 128, 256),
    ],
)
def test_lru(task, H, N):
    """LRU.setup and SequenceLayer.setup."""
    lru = 3 * N + 2 * N * H + 2 * H * N + H  # nu, theta, gamma; B; C; D
    layer = lru + 2 * H + 2 * dense(H, H)
    inputs = 3 if task == "image" else ONE_HOT.get(task, 1)
    assert stated("lru", f"{task}/LRU") == 6 * layer + ends(task, inputs, H)


@pytest.mark.parametrize(
    ("task", "blocks", "H", "ssm_dim"),
    [
        ("EigenWorms", 2, 128, 64),
        ("SelfRegulationSCP1", 6, 128, 256),
        ("SelfRegulationSCP2", 6, 64, 256),
        ("EthanolConcentration", 4, 16, 16),
        ("Heartbeat", 6, 16, 16),
        ("MotorImagery", 2, 128, 16),
    ],
)
def test_linoss(task, blocks, H, ssm_dim):
    """LinOSSLayer and LinOSSBlock, whose norm has no parameters."""
    layer = 2 * ssm_dim + 2 * ssm_dim * H + 2 * H * ssm_dim + H  # A_diag, steps; B; C; D
    channels, classes = UEA[task]
    expected = blocks * (layer + 2 * dense(H, H)) + dense(channels, H) + dense(H, classes)
    assert stated("linoss", f"{task}/LinOSS") == expected


def test_mamba():
    """Mamba.__init__, MixerModel with RMSNorm; a decoder with a bias in place of lm_head."""
    H, N, rank, kernel = 64, 16, 4, 4
    E = 2 * H
    projections = H * 2 * E + E * (rank + 2 * N) + dense(rank, E) + E * H
    block = projections + E * kernel + E + E * N + E + H  # convolution; A_log; D; norm
    expected = 2 * block + H + 18 * H + dense(H, 16)
    assert stated("mamba", "selective_copying/Mamba") == expected
