"""What every launcher of ours does before and after the work: plan, record, choose whom to start, answer Hydra."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.types import HydraContext
from omegaconf import DictConfig

from strokelab import runs, terminal
from strokelab.errors import RunError
from strokelab.files import make_folder
from strokelab.sweeps.ending import SweepEnd, said_and_ended
from strokelab.sweeps.members import door_of, plan_members, sweep_folder
from strokelab.sweeps.record import SweepMember, add_members
from strokelab.sweeps.states import SweepMemberState, state_of

__all__ = ["Sweep", "SweepMemberReturn", "failure", "said_and_ended", "unfinished"]


class SweepMemberReturn(JobReturn):
    """The result of a member as a sweeper sees it: its objective, or the reason why there is none.

    Hydra's own prints and raises when a failed result is looked at, which its basic sweeper does: that would end the
    sweep at the first failed member of a batch. The table tells about failures, and the exit status.

    Args:
        member: that ended.
        state: how.
        tolerant: for a sweeper that only looks whether all went well; False: for searches, which want to know.
    """

    def __init__(self, member: SweepMember, state: SweepMemberState, *, tolerant: bool) -> None:
        done = state.state == "finished"
        super().__init__(
            overrides=list(member.overrides),
            working_dir=str(member.folder),
            status=JobStatus.COMPLETED if done else JobStatus.FAILED,
        )
        self.member, self.state, self.tolerant = member, state, tolerant

    @property
    def return_value(self) -> Any:
        """The member's objective: mean Dice of its test cases, unless its settings name another number.

        Raises:
            RunError: it did not finish, and the sweeper is one that wants to know.
        """
        if self.tolerant:
            return None
        if self.status != JobStatus.COMPLETED:
            raise failure(self.member, self.state)
        return runs.read_objective(self.member.folder)

    @return_value.setter
    def return_value(self, value: Any) -> None:
        """Refuse: Hydra's own can be set, this one is read."""
        raise AttributeError("the result of a member is what its run folder says")


def failure(member: SweepMember, state: SweepMemberState) -> RunError:
    """What is to be said of a member that did not finish."""
    return RunError(
        member.folder,
        found=f"{state.state}{f': {state.error}' if state.error else ''}",
        expected="a finished training",
        remedy="see its log; the sweep goes on with it when it is started again in the same hydra.sweep.dir",
    )


class Sweep:
    """A sweep on the side of its launcher.

    Args:
        config: as Hydra gives it to a launcher.
        context: likewise.
        launcher: its name, for the record.
    """

    def __init__(self, config: DictConfig, context: HydraContext, *, launcher: str) -> None:
        self.config, self.context, self.launcher = config, context, launcher
        self.folder = sweep_folder(config)
        self.members: list[SweepMember] = []  # of all batches so far
        # Hydra's own sweeper only looks whether all went well; others learn from failures.
        self.tolerant = str(config.hydra.sweeper.get("_target_", "")).endswith(".BasicSweeper")

    def plan(self, job_overrides: Sequence[Sequence[str]], first: int) -> list[SweepMember]:
        """The members of a batch, recorded in ``sweep.json`` unless other runs occupy their folders.

        Args:
            job_overrides: as the sweeper gives them.
            first: number of the first of them.

        Raises:
            StrokelabError: no script to start, a record that cannot be read, or a folder that cannot be written to.
        """
        self.door = door_of(self.config)
        members = plan_members(self.config, self.context, job_overrides, first=first, earlier=self.members, say=_say)
        self.members += [member for member in dict.fromkeys(members) if member not in self.members]
        for callback in self.context.callbacks.callbacks:
            if isinstance(callback, SweepEnd):
                callback.asked = self.members
        make_folder(self.folder)
        own = [member for member in dict.fromkeys(members) if state_of(member).state != "other settings"]
        add_members(self.folder, own, door=self.door, launcher=self.launcher)
        return members

    def returns(
        self, members: Sequence[SweepMember], states: Mapping[SweepMember, SweepMemberState]
    ) -> list[JobReturn]:
        """The results of a batch, in its order."""
        return [SweepMemberReturn(member, states[member], tolerant=self.tolerant) for member in members]


def _say(line: str) -> None:
    terminal.console().print(line, markup=False, highlight=False, soft_wrap=True)


def unfinished(members: Sequence[SweepMember]) -> list[SweepMember]:
    """Each member once that is to be started: not finished, not at work, its folder not another run's.

    A member that another process of this machine trains is among them: its turn comes when that one has ended.
    """
    over = ("finished", "other settings", "running")
    return [
        member
        for member in dict.fromkeys(members)
        if state_of(member).state not in over or runs.is_claimed(member.folder)
    ]
