"""Variables of launchers in the environment: a run works, or is refused in one line."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest
import yaml

from ssmbench.errors import UsageError
from ssmbench.ranks import RANK_VARIABLES, check_rank_variables
from ssmbench.training.environment import cluster_environment

SLURM = ("SLURM_NTASKS", "SLURM_NTASKS_PER_NODE", "SLURM_STEP_NUM_TASKS", "SLURM_JOB_NAME")


@pytest.fixture
def environment(monkeypatch):
    """Set the variables of a launcher, and no others."""

    def set_variables(**variables: object) -> None:
        for name in (*RANK_VARIABLES, *SLURM, "TORCHELASTIC_RUN_ID"):
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, str(value))

    return set_variables


def test_an_allocation_of_several_tasks_does_not_stop_a_dry_run(tiny_suite, tmp_path):
    """As in a batch script with --ntasks=4, without srun."""
    (tmp_path / "suite.yaml").write_text(yaml.safe_dump(tiny_suite))
    variables = {"SLURM_NTASKS": "4", "SLURM_JOB_ID": "7", "SLURM_PROCID": "0"}
    done = subprocess.run(
        [sys.executable, "-m", "ssmbench", "suite", "suite.yaml", "--dry-run"],
        cwd=tmp_path,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert "2 runs, 0 complete" in done.stdout


@pytest.mark.parametrize("tasks", [1, 4])
def test_a_run_of_one_process_is_alone_in_an_allocation(environment, tasks):
    environment(SLURM_NTASKS=tasks, SLURM_PROCID=0)
    assert type(cluster_environment(1)).__name__ == "LightningEnvironment"


@pytest.mark.parametrize("variable", RANK_VARIABLES)
def test_a_second_process_of_a_run_of_one_is_refused(environment, variable):
    environment(**{variable: 1})
    with pytest.raises(UsageError, match=rf"{variable}=1: .* trainer.devices=1 is one"):
        cluster_environment(1)


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, "NoneType"),
        ({"SLURM_NTASKS": 1}, "LightningEnvironment"),
        ({"SLURM_NTASKS": 2, "SLURM_NTASKS_PER_NODE": 2}, "LightningEnvironment"),
        (
            {"SLURM_NTASKS": 2, "SLURM_NTASKS_PER_NODE": 2, "SLURM_STEP_NUM_TASKS": 2},
            "SLURMEnvironment",
        ),
        ({"SLURM_NTASKS": 2, "TORCHELASTIC_RUN_ID": 1}, "NoneType"),
    ],
)
def test_srun_is_believed_where_it_started_the_ranks(environment, variables, expected):
    environment(**variables)
    assert type(cluster_environment(2)).__name__ == expected


def test_another_number_of_tasks_than_ranks_is_refused(environment):
    environment(SLURM_NTASKS=3, SLURM_STEP_NUM_TASKS=3)
    with pytest.raises(UsageError, match=r"srun started 3 tasks, but .* is 2"):
        cluster_environment(2)


@pytest.mark.parametrize("variable", RANK_VARIABLES)
def test_a_rank_that_is_no_number_is_refused(environment, variable):
    environment(**{variable: "abc"})
    with pytest.raises(UsageError, match=rf"{variable}='abc': must be a whole number"):
        check_rank_variables()
