"""Imported runs: the folder is that of a run, for everything that loads one."""

import math

import numpy as np
import pytest
import torch

import ssmbench as sb
from ssmbench import registry
from ssmbench.library.figures import sampled_poles_of_run
from tests.importers import published
from tests.importers.published_neural_ssm import deep_ssm

QUICK = {
    "task.length": 12,
    "analysis.attack_steps": 1,
    "analysis.attack_restarts": 1,
    "analysis.robustness": False,
}


def single(array):
    array = np.asarray(array)
    return array.astype(np.complex64 if array.dtype.kind == "c" else np.float32)


@pytest.fixture
def saved(tmp_path):
    """Save the example of a layout in single precision, with some keys changed; None drops one."""

    def save(layout, **changes):
        arrays = dict(registry.importers.get(layout).factory.example()) | changes
        kept = {k: single(v) for k, v in arrays.items() if v is not None}
        np.savez(tmp_path / "weights.npz", **kept)
        return tmp_path / "weights.npz"

    return save


def bring(file, layout, tmp_path, overrides=None, **options):
    return sb.import_run(
        file, layout, QUICK | (overrides or {}), output=tmp_path / "run", **options
    )


@pytest.mark.parametrize("layout", [entry.name for entry in registry.importers if entry.builtin])
def test_gains_of_every_layout_are_verified_without_data(layout, saved, tmp_path):
    file = saved(layout)
    run = bring(file, layout, tmp_path)
    result = run.result
    assert result.imported.file == "weights.npz"
    assert result.imported.layout == layout
    assert result.scores is None
    assert result.gain.arithmetic == "float32"
    assert result.gain.spectral_radius < 1
    assert result.gain.attacked <= result.gain.verified * 1.0001 < math.inf
    again = sb.load(run.folder)
    assert again.state == "finished"
    assert again.model.parameter_count() == result.parameters
    assert sb.attack(again, steps=1, restarts=1).gain.verified == result.gain.verified
    y, state = again.model.stream(torch.zeros(1, 3, 2))
    assert torch.isfinite(y).all()
    assert state.steps == 3


def test_a_run_is_as_exact_as_its_file(tmp_path):
    u = np.random.default_rng(0).standard_normal((2, 9, published.INPUTS))
    arrays, y = published.s4_example(7, u)
    np.savez(tmp_path / "weights.npz", **arrays)
    run = bring(tmp_path / "weights.npz", "s4", tmp_path)
    assert run.gains.arithmetic == "float64"
    with torch.no_grad():
        found = sb.load(run.folder).model(torch.from_numpy(u)).numpy()
    np.testing.assert_allclose(found, y, rtol=0, atol=1e-9 * np.abs(y).max())
    assert len(sampled_poles_of_run(run)) == 2 * 2 * 3 * published.H


def test_an_unstable_network_has_no_finite_gain(tmp_path):
    arrays, _ = published.s5(1, np.zeros((1, 5, 2)), unstable=True)
    np.savez(tmp_path / "weights.npz", **arrays)
    run = bring(tmp_path / "weights.npz", "s5", tmp_path)
    assert run.gains.verified == math.inf
    assert run.gains.spectral_radius > 1
    assert "negative real part" in run.result.warnings[0]


def test_a_task_gives_scores_and_robustness(saved, tmp_path):
    random = np.random.default_rng(0)
    file = saved(
        "s4",
        **{"encoder.weight": random.standard_normal((4, 1))},
        **{"decoder.weight": random.standard_normal((10, 4)), "decoder.bias": np.zeros(10)},
    )
    small = {"task": "digits", "analysis.robustness": True, "analysis.robustness_sequences": 4}
    over = {k: v for k, v in QUICK.items() if not k.startswith("task")} | small
    run = sb.import_run(file, "s4", over, output=tmp_path / "run")
    assert run.result.task.name == "digits"
    assert 0 <= run.scores.test <= 1
    assert run.result.robustness
    assert run.result.task.baselines
    with torch.no_grad():
        score = run.task.score_of(lambda batch: run.model(batch.u), "test")
    assert score == run.scores.test


def test_one_hot_inputs_become_an_embedding(saved, tmp_path):
    task = {"name": "noise", "vocabulary": 2, "outputs": 3, "length": 12}
    run = bring(saved("s5"), "s5", tmp_path, {"task": task})
    tokens = torch.randint(2, (3, 7))
    plain = sb.import_run(saved("s5"), "s5", QUICK, output=tmp_path / "plain").model
    with torch.no_grad():
        one_hot = torch.nn.functional.one_hot(tokens, 2).float()
        torch.testing.assert_close(run.model(tokens), plain(one_hot))


# --- the neutral layout -------------------------------------------------------------------------


def test_matrices_are_those_of_the_layers(tmp_path):
    random = np.random.default_rng(3)
    lam = np.array([[0.9j, 0.3], [0.5, -0.7j]])
    layer = {
        "lam": lam,
        "B": random.standard_normal((2, 2, 2)) + 0j,
        "C": random.standard_normal((2, 2, 2)) + 1j,
        "D": random.standard_normal((2, 2, 2)),
    }
    arrays = {f"blocks.0.layer.{name}": array for name, array in layer.items()}
    np.savez(tmp_path / "weights.npz", **arrays)
    run = bring(tmp_path / "weights.npz", "npz", tmp_path)
    u = random.standard_normal((1, 8, 4))
    expected = []
    for h in range(2):
        part = u[..., 2 * h : 2 * h + 2]
        y = published.recurrence(lam[h], layer["B"][h], layer["C"][h], part, after=False)
        expected.append(2 * y.real + part @ layer["D"][h].T)
    with torch.no_grad():
        found = run.model(torch.from_numpy(u)).numpy()
    np.testing.assert_allclose(found, np.concatenate(expected, -1), rtol=0, atol=1e-12)


@pytest.mark.parametrize("form", ["A", "lam"])
def test_continuous_matrices_are_sampled(form, tmp_path):
    pole, dt = -0.5 + 2j, 0.1
    real = {
        "A": np.array([[pole.real, -pole.imag], [pole.imag, pole.real]]),
        "B": np.array([[1.0], [2.0]]),
        "C": np.array([[2.0, 0.0]]),
    }
    paired = {"lam": np.array([pole]), "B": np.array([[1 + 2j]]), "C": np.array([[1 + 0j]])}
    layer = (real if form == "A" else paired) | {"D": np.zeros((1, 1)), "dt": np.float64(dt)}
    arrays = {f"blocks.0.layer.{name}": array for name, array in layer.items()}
    np.savez(tmp_path / "weights.npz", **arrays)
    run = bring(tmp_path / "weights.npz", "npz", tmp_path)
    step = (np.exp(pole * dt) - 1) / pole * (1 + 2j)
    kernel = [0, *(2 * (np.exp(pole * dt * k) * step).real for k in range(5))]
    u = torch.zeros(1, 6, 1, dtype=torch.float64)
    u[0, 0] = 1
    with torch.no_grad():
        np.testing.assert_allclose(run.model(u)[0, :, 0].numpy(), kernel, rtol=0, atol=1e-12)


def test_parameters_of_ours_and_what_no_key_shows(tmp_path):
    over = {"model.d_model": 4, "model.n_layers": 2, "model.norm": "rms", "model.residual": "add"}
    model = {"model.parametrization": "l2ru", "model.discretizer": None} | over
    task = {"task.name": "noise", "task.channels": 2, "task.outputs": 3, "task.per_step": True}
    network = sb.network({}, model | task, seed=1)
    arrays = {name: value.numpy() for name, value in network.state_dict().items()}
    np.savez(tmp_path / "weights.npz", **arrays)
    given = {k: v for k, v in model.items() if k not in ("model.d_model", "model.norm")}
    run = bring(tmp_path / "weights.npz", "npz", tmp_path, given | {"model.nonlinearity": "gelu"})
    u = torch.randn(2, 5, 2)
    with torch.no_grad():
        torch.testing.assert_close(run.model(run.model.as_input(u)).float(), network(u))
    assert run.gains.declared == pytest.approx(1.0)


# --- what is refused ----------------------------------------------------------------------------


def refusal(call):
    with pytest.raises(sb.UsageError) as caught:
        call()
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_unknown_keys_are_left_out_only_if_asked(saved, tmp_path):
    file = saved("lru", **{"encoder.layers_0.seq.D2": np.ones(4)})
    message = refusal(lambda: bring(file, "lru", tmp_path))
    assert "does not understand 1 of 21 keys: 'encoder.layers_0.seq.D2'" in message
    assert "nearest key of the layout: 'encoder.layers_0.seq.D'" in message
    assert not (tmp_path / "run").exists()
    run = bring(file, "lru", tmp_path, partial=True)
    assert run.result.imported.left_out == ("encoder.layers_0.seq.D2",)


def test_blocks_alone_have_the_identity_around_them(saved, tmp_path):
    without = {
        f"{name}.{part}": None
        for name in ("encoder.encoder", "decoder")
        for part in ("kernel", "bias")
    }
    file = saved("s5", **without)
    assert "has no key 'encoder.encoder.kernel'" in refusal(lambda: bring(file, "s5", tmp_path))
    run = bring(file, "s5", tmp_path, partial=True)
    assert run.task.sizes.input.count == run.task.sizes.outputs == 4
    assert torch.equal(run.model.encoder.weight, torch.eye(4))
    assert run.task.sizes.per_step


def test_missing_statistics_are_not_taken_for_a_layer_norm(saved, tmp_path):
    file = saved("s5", **{f"batch_stats.encoder.layers_0.norm.{n}": None for n in ("mean", "var")})
    message = refusal(lambda: bring(file, "s5", tmp_path))
    assert "has no key 'batch_stats.encoder.layers_0.norm.mean'" in message


def test_the_layout_that_keys_look_like_is_named(saved, tmp_path):
    message = refusal(lambda: bring(saved("lru"), "s5", tmp_path))
    assert message.endswith("(its keys are like those of layout lru)")


def test_what_does_not_fit_the_task_is_said(saved, tmp_path):
    file = saved("s5")
    message = refusal(lambda: bring(file, "s5", tmp_path, {"task": "digits"}))
    assert "reads 2 channels, but the task Digits has 1" in message
    per_step = {"task.per_step": True}
    assert "from a whole sequence" in refusal(lambda: bring(file, "s5", tmp_path, per_step))
    override = {"model.d_model": 6}
    assert "needs (6," in refusal(lambda: bring(file, "s5", tmp_path, override))


def test_a_folder_with_something_in_it_is_kept(saved, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "notes.txt").write_text("mine")
    file = saved("s4")
    assert "exists already" in refusal(lambda: bring(file, "s4", tmp_path))
    assert (tmp_path / "run" / "notes.txt").exists()


@pytest.mark.parametrize(
    ("layout", "change", "message"),
    [
        (
            "s4",
            {"s4_layers.0.kernel.log_dt": np.ones((4, 2))},
            "kernel.log_dt has the shape (4, 2)",
        ),
        ("s5", {"encoder.layers_0.seq.log_step": np.ones((5, 1))}, "P = 3 of encoder.layers_0"),
        ("linoss", {"blocks.0.glu.w2.weight": np.ones((4, 5))}, "w2.weight has the shape (4, 5)"),
        ("npz", {"blocks.0.layer.D": np.ones((4, 3))}, "layer.D has the shape (4, 3)"),
        ("npz", {"blocks.0.layer.dt": -np.ones(1)}, "dt must be a positive number"),
        ("npz", {"blocks.0.mix.weights": np.ones((4, 4))}, "did you mean"),
    ],
)
def test_wrong_arrays_are_named(layout, change, message, saved, tmp_path):
    assert message in refusal(lambda: bring(saved(layout, **change), layout, tmp_path))


def test_a_prescribed_gain_is_verified_and_not_believed(tmp_path):
    arrays, _ = deep_ssm(8, np.zeros((1, 4, 2)), cell="l2n", branch="LGLU2", gamma=2.0)
    np.savez(tmp_path / "weights.npz", **arrays)
    run = bring(tmp_path / "weights.npz", "neural-ssm", tmp_path)
    network = run.gains.network
    assert network.declared is None
    assert network.attacked <= network.bound <= 2.0


def test_cells_and_branches_without_a_place_here_are_refused(saved, tmp_path):
    selective = {f"blocks.0.lru.{name}": None for name in ("Bp", "C", "D")}
    file = saved("neural-ssm", **selective, **{"blocks.0.lru.param_net.weight": np.ones(3)})
    assert "only the cells lru, l2n and l2ru" in refusal(
        lambda: bring(file, "neural-ssm", tmp_path)
    )
    file = saved("neural-ssm", **{f"blocks.0.ff.net.{i}.weight": None for i in (0, 1, 3)})
    assert "only the static branches" in refusal(lambda: bring(file, "neural-ssm", tmp_path))


def test_a_transposed_layer_norm_with_a_shift_is_refused(tmp_path):
    arrays, _ = published.s4_full(1, np.zeros((1, 4, 2)), norm="scalar")
    arrays["model.layers.0.norm.norm.m"] = np.ones(1)
    np.savez(tmp_path / "weights.npz", **arrays)
    assert "only m = 0" in refusal(lambda: bring(tmp_path / "weights.npz", "s4", tmp_path))
