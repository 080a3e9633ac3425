"""Checkpoints as files: what is read, and what is refused with one sentence."""

import io
import pickle
import zipfile

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ssmbench.errors import UsageError
from ssmbench.importers.files import canonical, read_checkpoint
from ssmbench.importers.weights import Weights


def refusal(path):
    with pytest.raises(UsageError) as caught:
        read_checkpoint(path)
    message = str(caught.value)
    assert "\n" not in message
    assert str(path) in message
    return message


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("params/encoder/kernel", "params.encoder.kernel"),
        (".blocks[0].ssm.B", "blocks.0.ssm.B"),
        ("['params']['layers_0']['D']", "params.layers_0.D"),
        ("s4_layers.0.D", "s4_layers.0.D"),
    ],
)
def test_names_of_every_program_become_dotted(name, plain):
    assert canonical(name) == plain


@given(st.lists(st.text("abz_0159", min_size=1), min_size=1, max_size=5))
def test_canonical_names_stay_as_they_are(parts):
    assert canonical("/".join(parts)) == canonical(canonical(".".join(parts)))


def test_the_same_weights_from_numpy_and_torch(tmp_path):
    arrays = {"a.w": np.arange(6.0).reshape(2, 3), "b": np.array([1 + 2j])}
    np.savez(tmp_path / "x.npz", **arrays)
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    torch.save({"state_dict": {f"module.{n}": t for n, t in tensors.items()}}, tmp_path / "x.pt")
    torch.save({"model": tensors, "acc": 0.5, "epoch": 3}, tmp_path / "y.pt")
    for file in ("x.npz", "x.pt", "y.pt"):
        found = read_checkpoint(tmp_path / file)
        assert set(found.arrays) == set(arrays)
        assert all(torch.equal(found.arrays[n], tensors[n]) for n in arrays)
        assert len(found.digest) == 64


def test_single_precision_is_recognised(tmp_path):
    np.savez(tmp_path / "x.npz", a=np.float32(0.1))
    assert read_checkpoint(tmp_path / "x.npz").single
    np.savez(tmp_path / "x.npz", a=np.float64(0.1))
    assert not read_checkpoint(tmp_path / "x.npz").single


def test_statistics_of_flax_stay_apart(tmp_path):
    np.savez(tmp_path / "x.npz", **{"params/n/scale": np.ones(2), "batch_stats/n/mean": np.ones(2)})
    assert set(read_checkpoint(tmp_path / "x.npz").arrays) == {"n.scale", "batch_stats.n.mean"}


class Exploding:
    def __reduce__(self):
        return exec, ("raise SystemExit('code ran')",)


def test_code_in_a_file_is_not_run(tmp_path):
    file = tmp_path / "x.pt"
    torch.save({"state_dict": {"a": torch.ones(2)}, "more": Exploding()}, file)
    assert "so that no code in it runs" in refusal(file)
    file.write_bytes(pickle.dumps({"a": Exploding()}))
    assert "torch.save(model.state_dict(), ...)" in refusal(file)
    np.savez(tmp_path / "o.npz", a=np.array([Exploding()], dtype=object))
    assert "never unpickled" in refusal(tmp_path / "o.npz")


def test_what_is_no_checkpoint_is_refused(tmp_path):
    assert "no such file" in refusal(tmp_path / "missing.npz")
    assert "is a folder" in refusal(tmp_path)
    (tmp_path / "x.safetensors").write_bytes(b"\x08" + bytes(20))
    assert "safetensors files are not read" in refusal(tmp_path / "x.safetensors")
    (tmp_path / "text.npz").write_text("hello")
    assert "not a NumPy .npz archive" in refusal(tmp_path / "text.npz")
    torch.save({"epoch": 3}, tmp_path / "empty.pt")
    assert "holds no arrays" in refusal(tmp_path / "empty.pt")
    with zipfile.ZipFile(tmp_path / "other.npz", "w") as archive:
        archive.writestr("readme.txt", "x")
    assert "'readme.txt' in it is not a NumPy array" in refusal(tmp_path / "other.npz")


def test_values_that_are_no_finite_numbers_are_refused(tmp_path):
    np.savez(tmp_path / "x.npz", w=np.array([1.0, np.nan]))
    assert "w holds 1 NaN or infinite of 2 entries" in refusal(tmp_path / "x.npz")
    torch.save({"w": torch.tensor([torch.inf, 1.0])}, tmp_path / "x.pt")
    assert "w holds 1 NaN or infinite of 2 entries" in refusal(tmp_path / "x.pt")
    np.savez(tmp_path / "s.npz", w=np.array(["a"]))
    assert "w has dtype <U1" in refusal(tmp_path / "s.npz")


def test_a_damaged_torch_file_is_refused(tmp_path):
    stream = io.BytesIO()
    torch.save({"w": torch.ones(100)}, stream)
    (tmp_path / "x.pt").write_bytes(stream.getvalue()[:-200])
    assert "neither a NumPy .npz archive nor a torch file" in refusal(tmp_path / "x.pt")


# --- taking arrays ------------------------------------------------------------------------------


def sentence(call):
    with pytest.raises(UsageError) as caught:
        call()
    return str(caught.value)


def test_shapes_are_explained_by_the_array_that_decided_them():
    weights = Weights({"a": torch.ones(4, 2), "b": torch.ones(3), "c": torch.ones(4)}, "file")
    weights.take("a", "H", "m")
    assert sentence(lambda: weights.take("b", "H")) == (
        "file: b has the shape (3,), but needs (H,), H = 4 of a; 'c' has that shape"
    )


def test_a_missing_key_is_named_with_the_nearest():
    weights = Weights({"layers_0.seq.log_step": torch.ones(4)}, "file")
    assert sentence(lambda: weights.under("layers_0.").take("seq.log_stp", "P")) == (
        "file: has no key 'layers_0.seq.log_stp'; did you mean 'layers_0.seq.log_step'?"
    )
    assert "has no key 'blocks.0...'" in sentence(lambda: weights.numbered("blocks."))


def test_a_gap_in_numbered_keys_is_named():
    weights = Weights({"b.0.x": torch.ones(1), "b.2.x": torch.ones(1)}, "file")
    assert sentence(lambda: weights.numbered("b.")) == "file: b.1 is missing"
