"""Runs and sweeps that were begun before defaults changed are known again and go on with their own.

The digests are those that strokelab wrote before ATLAS lost its validation part and SG-Net's precision was stated. A
default that changes, or a setting that is added, must keep them known (``runs.settings_digest``).
"""

import json
import sys
from pathlib import Path

import pytest
from sweep_planning import Planning

from strokelab import runs
from strokelab.configuration import compose, plain
from strokelab.errors import RunError
from strokelab.sweeps.members import Door, SweepMember, plan_members
from strokelab.sweeps.record import add_members, read_record
from strokelab.sweeps.states import state_of
from strokelab.training.start import start_of

SGNET = ["experiment=sgnet_atlas", "split.fold=Site5", "data.root=/cohort"]
SCHEME = ["sweep=mapping_schemes", "model=nnunet_topk", "data=atlas_v2", "data.root=/cohort", "split.fold=3"]
PART, PRECISION = ("split.val_fraction", 0.1), ("trainer.precision", "auto")
OLD = {
    "fc6500bf02e0476caca6b4d836c4bd61": (SGNET, [PART, PRECISION]),
    "5bfa3b28797843a4a21ed5ffbade3108": (["model=sgnet", "data=atlas_v1", "data.root=/cohort", "split.fold=4"], [PART]),
    "cd2e5a45b6d88013d6a3fbc046930d08": (
        ["model=unet2d", "trainer=ddp", "data=atlas_v1", "data.root=/cohort"],
        [PART, PRECISION],
    ),
    "240e8682f0a0288e975d9f8ce7a892b0": (
        ["experiment=mapping_default", "data.root=/cohort", "split.fold=0"],
        [PART],
    ),
    "12a1339b6927f58fc8f0670734de666e": (SCHEME, [PART]),
    "378b96af04d8f44194f76492e8874808": (["data.root=/cohort"], []),
    "438e320c27a4af47b5b3bb9eb3d716d8": (["experiment=mapping_small", "data.root=/cohort"], []),
    "eaa8ff608a1b779611bd8094e44ac085": (["experiment=sgnet_small", "data.root=/cohort"], [PRECISION]),
    "3313f3fac66f3e8ab71a94bf49d3c128": (
        [*SGNET, "split.val_fraction=0.2", "trainer.precision=bf16-mixed"],
        [],
    ),
    "b75bc5efbfecd81941758a51b87d35a5": (["experiment=mapping_default", "split=all", "data.root=/cohort"], []),
}
DIGEST = next(iter(OLD))
DOOR = Door(Path("train.py"), Path("/"), sys.executable)


@pytest.mark.parametrize(("digest", "command", "changed"), [(key, *value) for key, value in OLD.items()])
def test_a_digest_of_before_is_known(digest, command, changed):
    settings = plain(compose("train", [*command, "run_dir=/run"]))
    before = runs.as_before(settings, digest, command)
    if not changed:
        assert before is None
        assert runs.settings_digest(settings) == digest
    else:
        assert before is not None
        assert list(before.taken_back) == changed
        assert before.settings["split"]["val_fraction"] == 0.1
        assert all(f"{key}={was} (now " in str(before) for key, was in changed)


@pytest.mark.parametrize(
    "more", [["split.val_fraction=0"], ["data.val_fraction=0"], ["trainer.precision=32-true"], ["model.optimizer.lr=1"]]
)
def test_what_is_asked_otherwise_is_another_training(more):
    command = [*SGNET, *more]
    assert runs.as_before(plain(compose("train", command)), DIGEST, command) is None


def an_old_run(folder: Path, state: str) -> None:
    """What a training of before left: status, digest, overrides, config."""
    folder.mkdir(parents=True)
    settings = plain(compose("train", [*SGNET, f"run_dir={folder}"])) | {"cohort": {}}
    settings["split"]["val_fraction"], settings["trainer"]["precision"] = 0.1, "bf16-mixed"
    runs.write_settings(folder, settings)
    runs.write_status(folder, state)
    (folder / runs.ENVIRONMENT).write_text(json.dumps({"overrides": SGNET, "digest": DIGEST}))


def started(folder: Path, *more: str):
    return start_of(compose("train", [*SGNET, *more, f"run_dir={folder}", "resume=auto"]))


def test_resume_auto_takes_a_run_of_before_as_its_own_and_says_so(tmp_path):
    an_old_run(tmp_path / "done", "finished")
    start = started(tmp_path / "done")
    assert start.finished
    assert "split.val_fraction=0.1 (now 0)" in start.kept
    assert "trainer.precision=auto (now 32-true)" in start.kept
    an_old_run(tmp_path / "killed", "killed")  # before its first checkpoint
    start = started(tmp_path / "killed")
    assert (start.digest, start.settings["split"]["val_fraction"]) == (DIGEST, 0.1)
    with pytest.raises(RunError) as refused:
        started(tmp_path / "done", "split.val_fraction=0.05")
    assert "split.val_fraction=0.05, there 0.1" in refused.value.found


def test_a_sweep_of_before_is_continued_whole(tmp_path):
    """Its finished members are finished, and those it had not begun train as the others did."""
    jobs = [SGNET, [*SGNET[:1], "split.fold=Site4", SGNET[2]]]
    old = tmp_path / "sgnet-foldSite5-seed0"
    an_old_run(old, "finished")
    add_members(tmp_path, [SweepMember(0, tuple(SGNET), old, DIGEST)], door=DOOR, launcher="processes")
    said: list[str] = []
    planning = Planning(tmp_path, "hydra.sweep.subdir=${name}-fold${split.fold}-seed${seed}")
    first, second = plan_members(planning.config, planning.context, jobs, first=0, say=said.append)
    assert (first.folder, first.digest) == (old, DIGEST)
    assert state_of(first).state == "finished"
    assert len(said) == 1
    assert "split.val_fraction=0.1 (now 0)" in said[0]
    add_members(tmp_path, [first, second], door=DOOR, launcher="processes")
    assert [member.digest for member in read_record(tmp_path).members] == [DIGEST, second.digest]
    new = start_of(compose("train", [*second.overrides, f"run_dir={second.folder}", "resume=auto"]))
    assert new.digest == second.digest
    assert (new.settings["split"]["val_fraction"], new.settings["trainer"]["precision"]) == (0.1, "auto")
    # The same command in a folder of its own is a training of today.
    alone = start_of(compose("train", [*second.overrides, f"run_dir={tmp_path.parent / 'alone'}", "resume=auto"]))
    assert (alone.kept, alone.settings["split"]["val_fraction"]) == ("", 0)
