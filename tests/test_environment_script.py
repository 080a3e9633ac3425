"""Which build of PyTorch is installed, with fakes in place of the GPU, pip and the network."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCRIPT = ROOT / "tools" / "environment.sh"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"

#: Logs how it was called; fails where the variable FAIL_ON stands in the call.
FAKE_PYTHON = """#!/usr/bin/env bash
echo "$*" >>"$CALLS"
case "$*" in
*"pip show"*) exit 1 ;;
*"pip config"*) printf '%s' "${PIP_CONFIGURATION:-}" ;;
*"${FAIL_ON:-nothing that is ever called}"*) exit 1 ;;
esac
"""


@pytest.fixture
def checkout(tmp_path) -> Path:
    """What the script reads of a checkout, with a fake .venv and no GPU."""
    for name in ("pyproject.toml", "setup.py", "tools/constraints.txt"):
        file = tmp_path / name
        file.parent.mkdir(exist_ok=True)
        file.write_text("")
    native = tmp_path / "ssmbench" / "scans" / "native"
    native.mkdir(parents=True)
    (native / "kernels.c").write_text("")
    executable(tmp_path / ".venv" / "bin" / "python", FAKE_PYTHON)
    executable(tmp_path / "bin" / "nvidia-smi", "#!/bin/sh\nexit 1\n")
    return tmp_path


def executable(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)


def bash(checkout: Path, code: str, **variables: str) -> subprocess.CompletedProcess:
    """Run ``code`` after the script, with none of the caller's choices in the environment."""
    kept = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith("PIP_") and key != "SSMBENCH_TORCH"
    }
    path = f"{checkout / 'bin'}{os.pathsep}{os.environ['PATH']}"
    environment = kept | {"PATH": path, "CALLS": str(checkout / "calls")} | variables
    # /dev is the machine's own, so whether it has a GPU is asked of nvidia-smi alone.
    code = f"set -euo pipefail; compgen() {{ return 1; }}; . {SCRIPT}; {code}"
    return subprocess.run(
        ["bash", "-c", code],
        cwd=checkout,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


def calls(checkout: Path) -> list[str]:
    return (checkout / "calls").read_text().splitlines()


def installs(checkout: Path) -> list[str]:
    return [call for call in calls(checkout) if "pip install" in call]


def test_without_a_gpu_the_cpu_build_is_installed_first(checkout):
    done = bash(checkout, "prepare '[test]'")
    assert done.returncode == 0, done.stderr
    torch, package = installs(checkout)
    assert torch.endswith(f"--constraint tools/constraints.txt --index-url {CPU_INDEX} torch")
    assert package.endswith("--constraint tools/constraints.txt --editable .[test]")
    assert "installing PyTorch's CPU build" in done.stderr
    assert (checkout / ".venv" / ".installed[test]").exists()


def test_what_is_installed_is_not_installed_again(checkout):
    bash(checkout, "prepare")
    (checkout / "calls").unlink()
    assert bash(checkout, "prepare").returncode == 0
    assert not (checkout / "calls").exists()


def test_an_installed_torch_is_kept(checkout):
    executable(checkout / ".venv" / "bin" / "python", '#!/bin/sh\necho "$*" >>"$CALLS"\n')
    bash(checkout, "prepare")
    assert len(installs(checkout)) == 1
    assert "--editable" in installs(checkout)[0]


def test_with_a_gpu_the_default_build_is_used_and_nothing_is_asked_of_the_network(checkout):
    executable(checkout / "bin" / "nvidia-smi", "#!/bin/sh\necho 'GPU 0: a fake'\n")
    assert bash(checkout, "prepare").returncode == 0
    assert len(installs(checkout)) == 1
    assert not any("urllib" in call for call in calls(checkout))


@pytest.mark.parametrize(
    "variables",
    [
        {"PIP_INDEX_URL": "https://example.org/simple"},
        {"PIP_FIND_LINKS": "/some/wheels"},
        {"PIP_CONFIGURATION": "global.index-url='https://example.org/simple'"},
        {"PIP_CONFIGURATION": "global.extra-index-url='https://example.org/simple'"},
    ],
)
def test_an_index_of_the_users_choice_is_respected(checkout, variables):
    assert bash(checkout, "prepare", **variables).returncode == 0
    assert len(installs(checkout)) == 1
    assert not any("urllib" in call for call in calls(checkout))


def test_other_settings_of_pip_choose_no_index(checkout):
    setting = "global.disable-pip-version-check='1'"
    assert bash(checkout, "torch_build", PIP_CONFIGURATION=setting).stdout == "cpu\n"


def test_an_index_that_does_not_answer_means_the_default_build(checkout):
    assert bash(checkout, "torch_build", FAIL_ON="urllib").stdout == "default\n"


def test_a_cpu_build_that_cannot_be_installed_means_the_default_build(checkout):
    done = bash(checkout, "prepare", FAIL_ON=CPU_INDEX + " torch")
    assert done.returncode == 0
    assert "--editable" in installs(checkout)[-1]
    assert "using the default one" in done.stderr


def test_the_user_decides_by_a_variable(checkout):
    refused = {"FAIL_ON": "urllib"}
    assert bash(checkout, "torch_build", SSMBENCH_TORCH="cpu", **refused).stdout == "cpu\n"
    assert bash(checkout, "torch_build", SSMBENCH_TORCH="default").stdout == "default\n"


def test_another_value_of_the_variable_is_refused(checkout):
    done = bash(checkout, "prepare", SSMBENCH_TORCH="rocm")
    assert done.returncode == 2
    assert "SSMBENCH_TORCH must be cpu or default, got rocm" in done.stderr
    assert installs(checkout) == []


def test_without_a_suitable_python_there_is_one_line(checkout):
    (checkout / ".venv" / "bin" / "python").unlink()
    done = bash(checkout, "command() { return 1; }; prepare")
    assert done.returncode == 2
    assert done.stderr == "error: ssmbench needs Python 3.11 or later\n"
