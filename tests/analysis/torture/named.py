"""Systems that once had a wrong answer, by value."""

from __future__ import annotations

import numpy as np

from tests.analysis.torture.case import Case, dense_case

#: scipy.signal.tf2ss(*scipy.signal.butter(4, .001)), as SciPy 1.17 computes it.
BUTTER_4 = (
    [
        [3.9917906244144725, -5.975405553386735, 3.975439152644421, -0.9918242237691689],
        [1.0, 0.0, 0.0, 0.0],
        [0.0, 1.0, 0.0, 0.0],
        [0.0, 0.0, 1.0, 0.0],
    ],
    [[1.0], [0.0], [0.0], [0.0]],
    [
        [
            4.845542306771235e-11,
            1.4911981203829223e-13,
            4.8356281646267056e-11,
            4.9570955345303624e-14,
        ]
    ],
    [[6.063149717621949e-12]],
)


def named() -> list[Case]:
    """The systems; their names begin with ``named``."""
    return [
        *_filters(),
        *_unstable(),
        *_ill_conditioned(),
        *_units(),
    ]


def _filters() -> list[Case]:
    return [dense_case("named-butter_4", True, *BUTTER_4)]


def _unstable() -> list[Case]:
    radius = [[10621711.976473378, 6702057.482515994], [-16833748.65969173, -10621710.644515045]]
    qr = [[8925324.215563178, 13373495.031164285], [-5956662.6523761405, -8925322.650460947]]
    B, C = [[1.0], [0.0]], [[1.0, 0.0]]
    return [
        dense_case("named-radius_1.008", True, radius, B, C, 0),
        dense_case("named-lin_alg_error", True, qr, B, C, 0),
        dense_case("named-lin_alg_error_continuous", False, qr, B, C, 0),
    ]


def _ill_conditioned() -> list[Case]:
    shear = np.array([[1.0, 1.0], [-1.0, -1.0]])
    return [
        dense_case(f"named-shear_{s:g}", True, 0.5 * np.eye(2) + s * shear, np.ones((2, 1)),
                   np.ones((1, 2)), 0)
        for s in (0.0, 1.0, 1e2, 1e4, 1e6, 1e8, 1e10)
    ]  # fmt: skip


def _units() -> list[Case]:
    def resonance(w: float) -> Case:
        A = [[0.0, 1.0], [-(w * w), -2 * 1e-2 * w]]
        return dense_case(f"named-resonator_{w:g}", False, A, [[0.0], [w * w]], [[1.0, 0.0]], 0)

    half = [[0.5]]
    return [
        dense_case("named-slow", False, [[-1e-12]], [[1e-12]], [[1.0]], 0),
        *map(resonance, (1.0, 1e-10, 1e-12, 1e-15)),
        dense_case("named-units_1e200", True, half, [[1e200]], [[1e-200]], 0),
        dense_case("named-units_1e200_continuous", False, [[-1.0]], [[1e200]], [[1e-200]], 0),
        dense_case("named-units_1e150", True, half, [[1e150]], [[1e-150]], 0),
        dense_case("named-units_1e150_both", True, half, [[1e150]], [[1e150]], 0),
        dense_case("named-denormal", True, half, [[1e-320]], [[1.0]], 0),
        dense_case("named-zoh_of_large_B", False, [[-1.0, 0.3], [0.0, -2.0]], [[1e16], [1.0]],
                   [[1e-16, 1.0]], 0),
        dense_case("named-no_states", True, np.zeros((0, 0)), np.zeros((0, 1)), np.zeros((1, 0)),
                   [[2.0]]),
        Case("named-cancelling_modes", True, np.array([[0.999, 0.9989, 0.9988, 0.9987]]) + 0j,
             np.ones((1, 4, 1)) + 0j, np.array([[[1.0, -3.0, 3.0, -1.0]]]) + 0j,
             np.zeros((1, 1, 1))),
    ]  # fmt: skip
