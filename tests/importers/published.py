"""The published networks by their equations, in numpy, with the published key names.

Each function draws parameters, and gives them with the network's output for an input (B, L, 2).
Nothing here is from ssmbench. Sources as in the citations of the importers.
"""

import numpy as np
from scipy.special import erf

H, INPUTS, OUTPUTS = 4, 2, 3


def complex_of(array):
    return array[..., 0] + 1j * array[..., 1]


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def gelu(x):
    return x * (1 + erf(x / np.sqrt(2))) / 2


def gelu_tanh(x):
    return x * (1 + np.tanh(np.sqrt(2 / np.pi) * (x + 0.044715 * x**3))) / 2


def layer_norm(x, weight, bias, eps):
    centred = x - x.mean(-1, keepdims=True)
    return centred / np.sqrt((centred**2).mean(-1, keepdims=True) + eps) * weight + bias


def batch_norm(x, mean, variance, weight, bias, eps):
    return (x - mean) / np.sqrt(variance + eps) * weight + bias


def recurrence(lam, B, C, u, *, after=True):
    """y[k] = C x[k+1], or C x[k], of x[k+1] = lam x[k] + B u[k]; u (batch, L, m)."""
    x, outputs = np.zeros((len(u), len(lam)), complex), []
    for k in range(u.shape[1]):
        before, x = x, lam * x + u[:, k] @ B.T
        outputs.append((x if after else before) @ C.T)
    return np.stack(outputs, 1)


def backwards(function, u):
    """A function of the signal in reversed time, reversed again."""
    return function(u[:, ::-1])[:, ::-1]


class Draw:
    """Random arrays, kept by name."""

    def __init__(self, seed):
        self.random, self.arrays = np.random.default_rng(seed), {}

    def normal(self, name, *shape, scale=1.0):
        return self.keep(name, scale * self.random.standard_normal(shape))

    def uniform(self, name, low, high, *shape):
        return self.keep(name, self.random.uniform(low, high, shape))

    def keep(self, name, array):
        self.arrays[name] = np.asarray(array)
        return self.arrays[name]


# --- flax: S5 and LRU ---------------------------------------------------------------------------


def dense(draw, name, inputs, outputs):
    kernel = draw.normal(f"{name}/kernel", inputs, outputs, scale=0.5)
    bias = draw.normal(f"{name}/bias", outputs)
    return lambda x: x @ kernel + bias


def flax_norm(draw, place, kind):
    """A norm of a block, at ``place`` below params, and its statistics below batch_stats."""
    weight = draw.normal(f"params/{place}/scale", H)
    bias = draw.normal(f"params/{place}/bias", H)
    if kind == "layer":
        return lambda x: layer_norm(x, weight, bias, 1e-6)
    mean = draw.normal(f"batch_stats/{place}/mean", H)
    variance = draw.uniform(f"batch_stats/{place}/var", 0.5, 2.0, H)
    return lambda x: batch_norm(x, mean, variance, weight, bias, 1e-5)


def flax_glu(draw, place, activation):
    if activation == "gelu":
        return gelu_tanh
    out1 = dense(draw, f"{place}/out1", H, H) if activation == "full_glu" else None
    out2 = dense(draw, f"{place}/out2", H, H)

    def glu(x):
        inner = gelu_tanh(x)
        if out1 is not None:
            return out1(inner) * sigmoid(out2(inner))
        return (inner if activation == "half_glu1" else x) * sigmoid(out2(inner))

    return glu


def flax_network(draw, u, ssm, *, norm_name, norm, prenorm, activation, pooling, layers=2):
    """The logits of ClassificationModel; ``ssm(draw, place)`` makes the layer of a block."""
    encoder = dense(draw, "params/encoder/encoder", INPUTS, H)
    blocks = []
    for i in range(layers):
        place = f"encoder/layers_{i}"
        layer = ssm(draw, f"params/{place}/seq")
        shaped = flax_glu(draw, f"params/{place}", activation)
        blocks.append((flax_norm(draw, f"{place}/{norm_name}", norm), layer, shaped))
    decoder = dense(draw, "params/decoder", H, OUTPUTS)
    x = encoder(u)
    for normalise, layer, shaped in blocks:
        y = normalise(x) if prenorm else x
        x = x + shaped(layer(y))
        x = x if prenorm else normalise(x)
    return decoder({"mean": x.mean(1), "last": x[:, -1], "none": x}[pooling])


def s5_layer(draw, place, *, bidirectional, discretization, conj_sym, clip_eigs, unstable):
    P = 3
    high = 0.3 if unstable else 0.0
    real = draw.uniform(f"{place}/Lambda_re", -1.0, high, P)
    real = np.minimum(real, -1e-4) if clip_eigs else real
    lam = real + 1j * draw.uniform(f"{place}/Lambda_im", 0.0, 3.0, P)
    B = complex_of(draw.normal(f"{place}/B", P, H, 2))
    names = ("C1", "C2") if bidirectional == "two" else ("C",)
    width = 2 * P if bidirectional == "one" else P
    C = np.concatenate([complex_of(draw.normal(f"{place}/{n}", H, width, 2)) for n in names], 1)
    D = draw.normal(f"{place}/D", H)
    step = np.exp(draw.uniform(f"{place}/log_step", -4.0, -1.0, P, 1)[:, 0])
    if discretization == "zoh":
        lam_bar, factor = np.exp(lam * step), (np.exp(lam * step) - 1) / lam
    else:
        lam_bar, factor = (1 + step / 2 * lam) / (1 - step / 2 * lam), step / (1 - step / 2 * lam)
    B_bar, times = factor[:, None] * B, 2 if conj_sym else 1

    def layer(u):
        y = recurrence(lam_bar, B_bar, C[:, :P], u)
        if bidirectional:
            y = y + backwards(lambda v: recurrence(lam_bar, B_bar, C[:, P:], v), u)
        return times * y.real + D * u

    return layer


def s5(
    seed,
    u,
    *,
    bidirectional="",
    discretization="zoh",
    conj_sym=True,
    clip_eigs=False,
    unstable=False,
    norm="batch",
    prenorm=True,
    activation="half_glu1",
    pooling="mean",
):
    draw = Draw(seed)

    def ssm(draw, place):
        return s5_layer(
            draw,
            place,
            bidirectional=bidirectional,
            discretization=discretization,
            conj_sym=conj_sym,
            clip_eigs=clip_eigs,
            unstable=unstable,
        )

    y = flax_network(
        draw,
        u,
        ssm,
        norm_name="norm",
        norm=norm,
        prenorm=prenorm,
        activation=activation,
        pooling=pooling,
    )
    return draw.arrays, y


def lru_layer(draw, place, edge):
    N = 3
    modulus = draw.random.uniform(0.5, 0.99, N)
    modulus[0] = 1 - 1e-9 if edge else modulus[0]
    nu = draw.keep(f"{place}/nu_log", np.log(-np.log(modulus)))
    theta = draw.normal(f"{place}/theta_log", N)
    gamma = draw.normal(f"{place}/gamma_log", N)
    B = draw.normal(f"{place}/B_re", N, H) + 1j * draw.normal(f"{place}/B_im", N, H)
    C = draw.normal(f"{place}/C_re", H, N) + 1j * draw.normal(f"{place}/C_im", H, N)
    D = draw.normal(f"{place}/D", H)
    lam = np.exp(-np.exp(nu) + 1j * np.exp(theta))
    return lambda u: recurrence(lam, np.exp(gamma)[:, None] * B, C, u).real + D * u


def lru(seed, u, *, norm="batch", prenorm=True, pooling="mean", edge=False):
    draw = Draw(seed)
    y = flax_network(
        draw,
        u,
        lambda draw, place: lru_layer(draw, place, edge),
        norm_name="normalization",
        norm=norm,
        prenorm=prenorm,
        activation="full_glu",
        pooling=pooling,
    )
    return draw.arrays, y


# --- Equinox: LinOSS ----------------------------------------------------------------------------


def linear(draw, name, inputs, outputs, dot="."):
    weight = draw.normal(f"{name}{dot}weight", outputs, inputs, scale=0.5)
    bias = draw.normal(f"{name}{dot}bias", outputs)
    return lambda x: x @ weight.T + bias


def linoss_layer(draw, place, discretization):
    P = 3
    a = np.maximum(draw.uniform(f"{place}.A_diag", -0.1, 1.0, P), 0)
    h = sigmoid(draw.normal(f"{place}.steps", P))
    B = complex_of(draw.normal(f"{place}.B", P, H, 2))
    C = complex_of(draw.normal(f"{place}.C", H, P, 2))
    D = draw.normal(f"{place}.D", H)

    def layer(u):
        z, x, outputs = np.zeros((len(u), P), complex), np.zeros((len(u), P), complex), []
        for k in range(u.shape[1]):
            force = u[:, k] @ B.T
            if discretization == "IM":  # z' = z + h (-a x' + B u), x' = x + h z'
                z = (z - h * a * x + h * force) / (1 + h**2 * a)
            else:  # z' = z + h (-a x + B u), x' = x + h z'
                z = z + h * (force - a * x)
            x = x + h * z
            outputs.append((x @ C.T).real)
        return np.stack(outputs, 1) + D * u

    return layer


def linoss(seed, u, *, discretization="IM", pooling="mean"):
    draw = Draw(seed)
    encoder, blocks = linear(draw, ".linear_encoder", INPUTS, H), []
    for i in range(2):
        place = f".blocks[{i}]"
        mean, variance = (
            draw.normal(f"{place}.norm.mean", H),
            draw.uniform(f"{place}.norm.var", 0.5, 2.0, H),
        )
        layer = linoss_layer(draw, f"{place}.ssm", discretization)
        w1, w2 = (linear(draw, f"{place}.glu.{w}", H, H) for w in ("w1", "w2"))
        blocks.append((mean, variance, layer, w1, w2))
    head = linear(draw, ".linear_layer", H, OUTPUTS)
    x = encoder(u)
    for mean, variance, layer, w1, w2 in blocks:
        y = gelu_tanh(layer(batch_norm(x, mean, variance, 1, 0, 1e-5)))
        x = x + w1(y) * sigmoid(w2(y))
    return draw.arrays, head(x.mean(1) if pooling == "mean" else x)


# --- state-spaces/s4 ----------------------------------------------------------------------------


def convolved(kernel, u):
    """y[k] = sum over j of kernel[j] u[k - j], for each feature; kernel (H, L)."""
    length = u.shape[1]
    y = np.zeros_like(u)
    for j in range(length):
        y[:, j:] += kernel[:, j] * u[:, : length - j]
    return y


def vandermonde(weights, lam_bar, length):
    """2 Re sum over modes of weights lam_bar^k, (H, L)."""
    powers = lam_bar[..., None] ** np.arange(length)
    return 2 * np.einsum("hm,hml->hl", weights, powers).real


def glu(draw, name, convolution):
    weight = draw.normal(f"{name}.weight", 2 * H, H, scale=0.5)
    if convolution:
        draw.keep(f"{name}.weight", weight[..., None])
    bias = draw.normal(f"{name}.bias", 2 * H)

    def output(x):
        a, b = np.split(gelu(x) @ weight.T + bias, 2, axis=-1)
        return a * sigmoid(b)

    return output


def minimal_s4d(draw, place, length):
    M = 3
    D, dt = (
        draw.normal(f"{place}D", H),
        np.exp(draw.uniform(f"{place}kernel.log_dt", -4.0, -1.0, H))[:, None],
    )
    C = complex_of(draw.normal(f"{place}kernel.C", H, M, 2))
    A = -np.exp(draw.normal(f"{place}kernel.log_A_real", H, M))
    A = A + 1j * draw.uniform(f"{place}kernel.A_imag", 0.0, 9.0, H, M)
    kernel = vandermonde(C * (np.exp(dt * A) - 1) / A, np.exp(dt * A), length)
    output = glu(draw, f"{place}output_linear.0", convolution=True)
    return lambda u: output(convolved(kernel, u) + D * u)


def pairs(v):
    return np.concatenate([v, v.conj()], -1)


def full_layer(draw, place, length, *, form, bidirectional, n_ssm, transform, disc, rank, stored):
    """FFTConv with its kernel: ``form`` diag, real or dplr; ``stored``: the length of C~, or 0."""
    M, channels = 3, 2 if bidirectional else 1
    D = draw.normal(f"{place}layer.D", 1, H)[0]
    k = f"{place}layer.kernel."
    inverse = draw.uniform(f"{k}inv_dt", -4.0, -1.0, H, 1)
    dt = np.exp(inverse) if transform == "exp" else np.log1p(np.exp(inverse))
    A = -np.exp(draw.normal(f"{k}A_real", n_ssm, M))
    tail = () if form == "real" else (2,)
    if form != "real":
        A = A - 1j * draw.uniform(f"{k}A_imag", 0.0, 9.0, n_ssm, M)
    read = complex_of if tail else np.asarray
    B = read(draw.normal(f"{k}B", 1, n_ssm, M, *tail))[0]
    C = read(draw.normal(f"{k}C", channels, H, M, *tail))
    A, B = np.tile(A, (H // n_ssm, 1)), np.tile(B, (H // n_ssm, 1))
    if form != "dplr":
        z = dt * A
        if disc == "zoh":
            A_bar, step = np.exp(z), (np.exp(z) - 1) / A
        else:
            A_bar, step = (1 + z / 2) / (1 - z / 2), dt / (1 - z / 2)
        kernels = [vandermonde(c * B * step, A_bar, length) for c in C]
    else:
        P = complex_of(draw.normal(f"{k}P", rank, n_ssm, M, 2, scale=0.5))
        P = np.tile(P, (1, H // n_ssm, 1))
        draw.keep(f"{k}l_kernel", np.array(stored))
        kernels, kept = dplr_kernels(A, B, C, P, dt, length, stored)
        draw.keep(f"{k}C", np.stack([kept.real, kept.imag], -1))
    forward, *reverse = kernels

    def layer(u):
        y = convolved(forward, u) + D * u
        if reverse:  # one step later than the forward one
            late = np.concatenate([np.zeros((H, 1)), reverse[0][:, :-1]], 1)
            y = y + backwards(lambda v: convolved(late, v), u)
        return y

    return layer


def dplr_kernels(A, B, C, P, dt, length, stored):
    """The kernels of C, and C (I - A_bar^L) as the code stores it for L = ``stored``."""
    kernels, kept = np.zeros((len(C), H, length)), np.array(C)
    for h in range(H):
        p = pairs(P[:, h])
        full = np.diag(pairs(A[h])) - p.T @ p.conj()
        eye = np.eye(len(full))
        left = np.linalg.inv(eye - dt[h] / 2 * full)
        A_bar, B_bar = left @ (eye + dt[h] / 2 * full), left @ (dt[h] * pairs(B[h]))
        for c in range(len(C)):
            row = pairs(C[c, h])
            for k in range(length):
                kernels[c, h, k] = (row @ np.linalg.matrix_power(A_bar, k) @ B_bar).real
            if stored:
                truncated = row @ (eye - np.linalg.matrix_power(A_bar, stored))
                kept[c, h] = truncated[: C.shape[-1]]
    return kernels, kept


def torch_norm(draw, place, kind, shift=0.0):
    if kind == "scalar":
        m, s = draw.keep(f"{place}m", np.full(1, shift)), draw.normal(f"{place}s", 1)

        def transposed(x):
            mean, deviation = x.mean(-1, keepdims=True), x.std(-1, keepdims=True)
            return s / deviation * (x - mean + m)

        return transposed
    weight, bias = draw.normal(f"{place}weight", H), draw.normal(f"{place}bias", H)
    if kind == "layer":
        return lambda x: layer_norm(x, weight, bias, 1e-5)
    mean, variance = (
        draw.normal(f"{place}running_mean", H),
        draw.uniform(f"{place}running_var", 0.5, 2.0, H),
    )
    draw.keep(f"{place}num_batches_tracked", np.array(7))
    return lambda x: batch_norm(x, mean, variance, weight, bias, 1e-5)


def s4_example(seed, u, *, prenorm=False, form="minimal", bidirectional=False, rank=1, stored=0):
    """example.py, with the layer of s4d.py (minimal) or S4Block."""
    draw, length = Draw(seed), u.shape[1]
    encoder, blocks = linear(draw, "encoder", INPUTS, H), []
    for i in range(2):
        place = f"s4_layers.{i}."
        if form == "minimal":
            layer = minimal_s4d(draw, place, length)
        else:
            inner = full_layer(
                draw,
                place,
                length,
                form=form,
                bidirectional=bidirectional,
                n_ssm=H,
                transform="exp",
                disc="zoh",
                rank=rank,
                stored=stored,
            )
            output = glu(draw, f"{place}output_linear.0", convolution=False)

            def layer(u, inner=inner, output=output):
                return output(inner(u))

        blocks.append((torch_norm(draw, f"norms.{i}.", "layer"), layer))
    decoder = linear(draw, "decoder", H, OUTPUTS)
    x = encoder(u)
    for normalise, layer in blocks:
        x = x + layer(normalise(x) if prenorm else x)
        x = x if prenorm else normalise(x)
    return draw.arrays, decoder(x.mean(1))


def s4_full(
    seed,
    u,
    *,
    form="diag",
    bidirectional=False,
    n_ssm=1,
    transform="softplus",
    disc="zoh",
    norm="layer",
    prenorm=True,
    rank=1,
    stored=0,
    vocabulary=0,
):
    """A Lightning checkpoint of the full code; u are tokens if there is a vocabulary."""
    draw, length, blocks = Draw(seed), u.shape[1], []
    if vocabulary:
        table = draw.normal("encoder.0.weight", vocabulary, H)
        x = table[u]
    else:
        x = linear(draw, "encoder.0", INPUTS, H)(u)
    for i in range(2):
        place = f"model.layers.{i}."
        inner = full_layer(
            draw,
            f"{place}layer.",
            length,
            form=form,
            bidirectional=bidirectional,
            n_ssm=n_ssm,
            transform=transform,
            disc=disc,
            rank=rank,
            stored=stored,
        )
        output = glu(draw, f"{place}layer.output_linear.0", convolution=False)
        blocks.append((torch_norm(draw, f"{place}norm.norm.", norm), inner, output))
    last = torch_norm(draw, "model.norm.norm.", norm) if prenorm else (lambda x: x)
    decoder = linear(draw, "decoder.0.output_transform", H, OUTPUTS)
    for normalise, inner, output in blocks:
        x = x + output(inner(normalise(x) if prenorm else x))
        x = x if prenorm else normalise(x)
    return draw.arrays, decoder(last(x).mean(1))
