"""A job array made of members: its sbatch text, and sending it. Knows submitit; knows neither queue nor run folders."""

from __future__ import annotations

import importlib.util
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from strokelab.command_words import word
from strokelab.errors import ConfigError
from strokelab.files import make_folder
from strokelab.processes import outside_allocation
from strokelab.sweeps.slurm.settings import SlurmSettings

if TYPE_CHECKING:
    from submitit import SlurmExecutor

# What sbatch says of a controller that does not answer, or of a configuration that it cannot find.
_UNREACHABLE = re.compile(
    "unable to (contact|connect|resolve)|timed out|connection refused|zero bytes were transmitted|"
    "could not establish a configuration source|no route to host",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Work:
    """What one job does; ``script`` is ``""`` where the package's own door serves."""

    script: str
    cwd: str
    arguments: tuple[str, ...]

    def __str__(self) -> str:
        start = ["python", Path(self.script).name] if self.script else ["strokelab", "train"]
        return " ".join([*start, *map(word, self.arguments)])


def check_here(*, dry_run: bool) -> None:
    """Whether members can be submitted from this machine.

    Args:
        dry_run: only the script is asked for.

    Raises:
        ConfigError: submitit is missing, or a program of SLURM.
    """
    if importlib.util.find_spec("submitit") is None:
        raise ConfigError(
            "hydra/launcher=slurm",
            found="submitit is not installed",
            expected="the library that sends jobs to SLURM",
            remedy="pip install 'strokelab[slurm]'",
        )
    absent = [program for program in ("sbatch", "srun", "squeue") if shutil.which(program) is None]
    if absent and not dry_run:
        raise ConfigError(
            "hydra/launcher=slurm",
            found=f"no {', '.join(absent)} on the PATH",
            expected="a login node of a SLURM cluster",
            remedy="start it there, look at the script with --dry-run, or use hydra/launcher=processes",
        )


def sbatch_text(settings: SlurmSettings, folder: Path, jobs: int) -> str:
    """The script that ``submit`` would hand to sbatch; asks for no SLURM and writes nothing.

    Args:
        settings: of each job.
        folder: for scripts and logs.
        jobs: how many members the array has.

    Raises:
        ConfigError: as ``check_here``, or submitit knows one of the settings not.
    """
    check_here(dry_run=True)
    executor = _executor(settings, folder, dry_run=True)
    if jobs > 1:
        executor.parameters["map_count"] = jobs
    return executor._make_submission_file_text(executor._submitit_command_str, "")  # submitit has no public way


def submit(settings: SlurmSettings, folder: Path, work: Sequence[Work]) -> list[str]:
    """Send jobs as one array.

    Args:
        settings: of each job.
        folder: for scripts and logs; all nodes must see it.
        work: one per job.

    Returns:
        The job ids, as squeue shows them, in the order of ``work``.

    Raises:
        ConfigError: as ``check_here``, sbatch refuses, or SLURM does not answer.
        DataError: the folder cannot be written to.
    """
    check_here(dry_run=False)
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    from strokelab.sweeps.slurm.job import run_member

    executor = _executor(settings, folder, dry_run=False)
    make_folder(folder)
    before = set(folder.iterdir())
    try:
        with outside_allocation(), executor.batch():
            jobs = [executor.submit(run_member, item.script, item.cwd, item.arguments) for item in work]
    except (FailedJobError, FailedSubmissionError, OSError) as error:
        for left in set(folder.iterdir()) - before:
            left.unlink()
        lines = [line for line in str(error).splitlines() if line.strip()]
        quoted = " ".join([line for line in lines if "sbatch:" in line] or lines[-1:])
        if _UNREACHABLE.search(quoted):
            raise ConfigError(
                "hydra.launcher",
                found=f"SLURM does not answer: {quoted}",
                expected="a controller that answers sbatch",
                remedy="give the command again when `sinfo` answers here; nothing was submitted",
            ) from error
        raise ConfigError(
            "hydra.launcher",
            found=f"sbatch refused: {quoted}",
            expected="options that this cluster accepts",
            remedy="correct them with hydra.launcher.NAME=... or in its yaml; --dry-run shows the whole script",
        ) from error
    for link in folder.glob(".submission_file_*"):
        link.unlink()  # the script itself stays, under the job's number
    return [job.job_id for job in jobs]


def _executor(settings: SlurmSettings, folder: Path, *, dry_run: bool) -> SlurmExecutor:
    from submitit import SlurmExecutor

    class DryExecutor(SlurmExecutor):
        """An executor for a machine without SLURM: it prints and never submits."""

        @classmethod
        def affinity(cls) -> int:
            """Say that SLURM is here."""
            return 2

    executor = (DryExecutor if dry_run else SlurmExecutor)(folder, python=settings.python)
    try:
        executor.update_parameters(**settings.sbatch_parameters())
    except (TypeError, ValueError) as error:
        first = (str(error).splitlines() or [""])[0]
        raise ConfigError(
            "hydra.launcher", found=first, expected="options of sbatch", remedy="see conf/hydra/launcher/slurm.yaml"
        ) from error
    return executor
