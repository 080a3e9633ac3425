"""``ssmbench check``: every check by name, and the exit code."""

import json

WRONG = '''
from dataclasses import dataclass
from ssmbench.parametrizations.l2ru import L2RU, L2RUConfig
from ssmbench.registry import parametrizations

@parametrizations.register("proud", config=L2RUConfig)
class Proud(L2RU):
    """Declares half of its gain."""

    def declared_gain(self):
        return super().declared_gain() / 2
'''


def test_a_built_in_passes_every_check(ssmbench):
    answer = ssmbench("check", "nonlinearity", "tanh")
    assert answer.code == 0
    assert "all checks passed" in answer.out
    assert "passed  lipschitz constant as declared" in answer.out


def test_a_plugin_that_fails_a_check_exits_with_1(ssmbench, write):
    write("plugins/proud.py", WRONG)
    answer = ssmbench("check", "parametrization", "proud", "--json")
    found = json.loads(answer.out)
    assert (answer.code, found["ok"]) == (1, False)
    failed = {c["name"]: c["reason"] for c in found["checks"] if not (c["passed"] or c["skipped"])}
    assert set(failed) == {"gain as declared", "gain near the unit circle"}
    assert "declares a gain of 0.5" in failed["gain as declared"]


def test_an_unknown_name_is_a_usage_error(ssmbench):
    answer = ssmbench("check", "parametrizations", "s4x")
    assert answer.code == 2
    assert "did you mean 's4'" in answer.err


def test_a_task_is_checked_without_its_data(ssmbench):
    answer = ssmbench("check", "task", "spoken_digits")
    assert answer.code == 0, answer.out
