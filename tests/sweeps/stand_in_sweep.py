"""A sweep of stand-ins as a program of its own: ``stand_in_sweep.py FOLDER AT_ONCE "overrides of 0" "of 1" ...``."""

import sys
from pathlib import Path

from rich.console import Console

from strokelab.sweeps.members import Door, SweepMember
from strokelab.sweeps.processes import train_members
from strokelab.sweeps.record import add_members
from strokelab.sweeps.sharing import Shares

if __name__ == "__main__":
    folder = Path(sys.argv[1])
    members = [
        SweepMember(number, tuple(text.split()), folder / f"m{number}", "") for number, text in enumerate(sys.argv[3:])
    ]
    door = Door(Path(__file__).with_name("stand_in_training.py"), folder, sys.executable)
    add_members(folder, members, door=door, launcher="processes")
    at_once = int(sys.argv[2])
    shares = Shares(at_once, 3, tuple(f"{slot},{slot + 10}" for slot in range(at_once)))
    train_members(members, door, shares, folder=folder, console=Console())
