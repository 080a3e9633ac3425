"""The encoder and the decoder of published networks of S5 and LRU: lindermanlab/S5 at 3c18fdb,
s5/seq_model.py (StackedEncoderModel, RetrievalDecoder) and s5/train_helpers.py (prep_batch).
"""

from __future__ import annotations

import pytest
import torch
from torch.nn.functional import one_hot

from ssmbench import registry
from ssmbench.errors import UsageError
from ssmbench.nn.encoders.one_hot import OneHotConfig
from ssmbench.nn.pooling import Pooling
from ssmbench.spec import Channels, Pair, TaskSizes, Tokens
from tests.published.test_s5_network import gelu

TOKENS = Tokens(7)


def encoder(columns: int = 0):
    config = OneHotConfig(columns=columns)
    return registry.encoders.get("one_hot").build(config, input=TOKENS, length=5, d_model=4)


@pytest.mark.parametrize("columns", [0, 9])
def test_a_token_is_a_column_of_a_dense_layer(columns):
    module, u = encoder(columns), torch.randint(0, 7, (3, 5))
    vectors = one_hot(u, columns or 7).float()
    torch.testing.assert_close(module(u), vectors @ module.weight.mT + module.bias)


def test_tokens_without_a_column_are_refused():
    with pytest.raises(UsageError, match=r"columns must be at least 7, the task's vocabulary, got"):
        encoder(6)
    with pytest.raises(UsageError, match=r"tokens must be in 0\.\.6, the columns of one_hot; got"):
        encoder()(torch.tensor([[0, 7]]))


def test_two_documents_are_read_by_a_hidden_layer_of_gelu():
    entry = registry.decoders.get("pair")
    config = entry.config(activation="gelu_tanh")
    sizes = TaskSizes(Pair(Channels(1)), 2, length=5)
    module = entry.build(config, sizes=sizes, d_model=4, pooling=Pooling.mean).double()
    x = torch.randn(6, 5, 4, dtype=torch.float64)
    a, b = x.mean(1).unflatten(0, (3, 2)).unbind(1)
    features = torch.cat([a, b, a - b, a * b], -1)
    hidden = gelu(features @ module.hidden.weight.mT + module.hidden.bias)
    expected = hidden @ module.readout.weight.mT + module.readout.bias
    torch.testing.assert_close(module(x, None), expected, rtol=1e-12, atol=1e-12)
