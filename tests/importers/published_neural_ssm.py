"""DeepSSM of neural-ssm 0.44.0 by its equations, in numpy, with the published key names."""

import numpy as np

from tests.importers.published import INPUTS, OUTPUTS, Draw, H, gelu, recurrence, sigmoid

STATES = 6


def real_recurrence(A, B, C, D, u):
    x, outputs = np.zeros((len(u), len(A))), []
    for k in range(u.shape[1]):
        outputs.append(x @ C.T + u[:, k] @ D.T)
        x = x @ A.T + u[:, k] @ B.T
    return np.stack(outputs, 1)


def lru(draw, place):
    N = STATES
    modulus = draw.random.uniform(0.5, 0.95, N)
    nu = draw.keep(f"{place}nu_log", np.log(-np.log(modulus)))
    theta, gamma = draw.normal(f"{place}theta_log", N), draw.normal(f"{place}gamma_log", N)
    B = draw.keep(f"{place}Bp", draw.random.standard_normal((N, H, 2)) @ [1, 1j])
    C = draw.keep(f"{place}C", draw.random.standard_normal((H, N, 2)) @ [1, 1j])
    D = draw.normal(f"{place}D", H, H)
    lam = np.exp(-np.exp(nu) + 1j * np.exp(theta))
    B = np.exp(gamma)[:, None] * B
    return (lambda u: recurrence(lam, B, C, u, after=False).real + u @ D.T), None


def l2n(draw, place):
    M = STATES // 2
    rho, theta = draw.normal(f"{place}rho_raw", M), draw.normal(f"{place}theta", M)
    gain = np.exp(draw.normal(f"{place}log_gamma"))
    draw.normal(f"{place}S", STATES, STATES)
    K = np.zeros((STATES + H, STATES + H))
    for i in range(M):
        c, s = np.cos(theta[i]), np.sin(theta[i])
        K[2 * i : 2 * i + 2, 2 * i : 2 * i + 2] = np.array([[c, -s], [s, c]]) * sigmoid(rho[i])
    K[:STATES, :STATES] *= 1 - 1e-3
    K[:STATES, STATES:] = draw.normal(f"{place}K12_raw", STATES, H)
    K[STATES:, :STATES] = draw.normal(f"{place}K21_raw", H, STATES)
    K[STATES:, STATES:] = draw.normal(f"{place}K22_raw", H, H)
    K /= np.linalg.norm(K, 2) + 0.002
    A, B, C, D = K[:STATES, :STATES], K[:STATES, STATES:], K[STATES:, :STATES], K[STATES:, STATES:]
    return (lambda u: real_recurrence(A, gain * B, C, gain * D, u)), gain


def l2ru(draw, place):
    lower, upper, eye = np.tril_indices(H), np.triu_indices(H, 1), np.eye(H)
    X11, X22, S = np.zeros((H, H)), np.zeros((H, H)), np.zeros((H, H))
    X11[lower] = draw.normal(f"{place}X11_params", len(lower[0]))
    X22[lower] = draw.normal(f"{place}X22_params", len(lower[0]))
    S[upper] = draw.normal(f"{place}Skew_params", len(upper[0]))
    S -= S.T
    X21, C, Dt = (draw.normal(f"{place}{name}", H, H) for name in ("X21", "C", "Dt"))
    gamma, alpha = draw.keep(f"{place}gamma", np.array(1.3)), draw.keep(f"{place}alpha", 1.0)
    epsilon = draw.keep(f"{place}epsilon", np.array(-0.5))
    for name, value in (("ID", eye), ("tril_indices", lower), ("triu_indices", upper)):
        draw.keep(f"{place}{name}", np.array(value))
    Z = X21 @ X21.T + X22 @ X22.T + Dt.T @ Dt + np.exp(epsilon) * eye
    beta = gamma**2 * sigmoid(alpha) / np.linalg.norm(Z, 2)
    H11 = X11 @ X11.T + C.T @ C + beta * np.exp(epsilon) * eye
    H12 = np.sqrt(beta) * (X11 @ X21.T + C.T @ Dt)
    V = Z * beta - gamma**2 * eye
    R = -H12 @ np.linalg.inv(V).T @ H12.T + 1e-6 * eye
    root, both = np.linalg.cholesky(R), np.linalg.cholesky(R + H11)
    Q = (eye - S) @ np.linalg.inv(eye + S)
    A = np.linalg.inv(both).T @ Q @ root.T
    B, D = A @ np.linalg.solve(H12.T, V.T), np.sqrt(beta) * Dt
    return (lambda u: real_recurrence(A, B, C, D, u)), gamma


def mlp(draw, place):
    hidden = 5
    first = draw.normal(f"{place}net.0.weight", hidden, H, scale=0.5)
    second = draw.normal(f"{place}net.1.weight", hidden, hidden, scale=0.5)
    last = draw.normal(f"{place}net.3.weight", H, hidden, scale=0.5)
    return (lambda x: gelu(x @ first.T @ second.T) @ last.T), None


def glu(draw, place):
    weight = draw.normal(f"{place}output_linear.0.weight", 2 * H, H, scale=0.5)
    bias = draw.normal(f"{place}output_linear.0.bias", 2 * H)

    def branch(x):
        a, b = np.split(gelu(x) @ weight.T + bias, 2, axis=-1)
        return a * sigmoid(b)

    return branch, None


def lglu2(draw, place):
    scale = np.log1p(np.exp(draw.normal(f"{place}raw_lip", H))) + 1e-6
    A, B = (draw.normal(f"{place}{name}.W_raw", H, H) for name in "AB")
    A, B = A / max(np.linalg.norm(A, 2) / 0.75, 1), B / max(np.linalg.norm(B, 2), 1)
    return (lambda x: np.tanh(x @ A.T) * sigmoid(x @ B.T) * scale), scale.max()


CELLS = {"lru": lru, "l2n": l2n, "l2ru": l2ru}
BRANCHES = {"MLP": mlp, "GLU": glu, "LGLU2": lglu2}


def deep_ssm(seed, u, *, cell, branch, gamma=None, gates="scalar"):
    """The outputs (B, L, 3) of two blocks; with ``gamma`` the network with a prescribed gain.

    ``gates``: scalar, channel, or one (the same for both branches, as earlier versions have it).
    """
    draw, names = Draw(seed), ("encoder_w", "decoder_w")
    names = ("encoder.weight", "decoder.weight") if gamma is None else names
    encoder, decoder = draw.normal(names[0], H, INPUTS), draw.normal(names[1], OUTPUTS, H)
    blocks, log_gain = [], 0.0
    for i in range(2):
        place, shape = f"blocks.{i}.", (H,) if gates == "channel" else ()
        keys = ["res_logit"] * 2 if gates == "one" else ["ssm_res_logit", "ff_res_logit"]
        for key in dict.fromkeys(keys):
            draw.normal(f"{place}{key}", *shape)
        a, b = (sigmoid(draw.arrays[f"{place}{key}"]) for key in keys)
        system, gain = CELLS[cell](draw, f"{place}lru.")
        static, slope = BRANCHES[branch](draw, f"{place}ff.")
        blocks.append((a, system, b, static))
        if gamma is not None:
            log_gain += np.log1p(np.max(a) * gain) + np.log1p(np.max(b) * slope)
    if gamma is not None:
        draw.keep("gamma_t", np.array(gamma))
        encoder, decoder = (w / max(np.linalg.norm(w, 2), 1) for w in (encoder, decoder))
        decoder = decoder * np.exp(-0.05 * np.logaddexp(0, (log_gain - np.log(gamma)) / 0.05))
    x = u @ encoder.T
    for a, system, b, static in blocks:
        x = x + a * system(x)
        x = x + b * static(x)
    return draw.arrays, x @ decoder.T
