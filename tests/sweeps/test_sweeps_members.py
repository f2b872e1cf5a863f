"""Members of a sweep: each has a folder of its own that is found again, and a command Hydra understands."""

import sys
from pathlib import Path

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hypothesis import given, settings
from hypothesis import strategies as st
from omegaconf import OmegaConf
from sweep_planning import Planning

from strokelab import runs
from strokelab.configuration import compose, plain
from strokelab.errors import ConfigError
from strokelab.sweeps import members as members_module
from strokelab.sweeps.members import Door, SweepMember, door_of, member_arguments
from strokelab.sweeps.record import add_members

DOOR = Door(Path("train.py"), Path("/"), sys.executable)


def names(members):
    return [member.folder.name for member in members]


def test_members_have_the_names_of_the_pattern_and_are_found_again(tmp_path):
    planning = Planning(tmp_path, "hydra.sweep.subdir=${hydra.job.num}-${name}-${seed}")
    first = planning.plan("seed=4", "seed=5")
    assert names(first) == ["0-sgnet-4", "1-sgnet-5"]
    assert [member.number for member in first] == [0, 1]
    add_members(tmp_path, first, door=DOOR, launcher="processes")
    # Another order, one more, one twice: as when a sweep is started anew with other values.
    again = planning.plan("seed=5", "seed=6", "seed=4", "seed=6")
    assert again == [first[1], again[1], first[0], again[1]]
    assert names(again) == ["1-sgnet-5", "2-sgnet-6", "0-sgnet-4", "2-sgnet-6"]


def test_members_that_would_share_a_folder_are_told_apart(tmp_path):
    planning = Planning(tmp_path, "hydra.sweep.subdir=${name}-${seed}")
    jobs = ["seed=1;model.optimizer.lr=0.1", "seed=1;model.optimizer.lr=0.2", "seed=2;model.optimizer.lr=0.2"]
    members = planning.plan(*jobs)
    assert names(members) == ["sgnet-1-lr=0.1", "sgnet-1-lr=0.2", "sgnet-2"]
    later = planning.plan("seed=2;model.optimizer.lr=0.3", first=3, earlier=members)
    assert names(later) == ["sgnet-2-lr=0.3"]
    odd = planning.plan("seed=3;name='a/b c'", "seed=3;name='a_b c'", "seed=3;name=a")
    assert len({member.folder for member in odd}) == 3


def test_what_a_member_is_asked_for_is_known_before_it_starts(tmp_path, monkeypatch):
    """The digest of the plan is that of the member's own process, wherever the sweep's folder lies."""
    monkeypatch.setenv("STROKELAB_DATA", "somewhere")
    members = Planning(tmp_path, "logger=tensorboard").plan("seed=4;model=unet2d", "seed=5;model=unet2d")
    for member, seed in zip(members, (4, 5), strict=True):
        own = plain(compose("train", ["model=unet2d", f"seed={seed}", f"run_dir={tmp_path / 'moved' / 'x'}"]))
        assert runs.settings_digest(own) == member.digest
    assert members[0].digest != members[1].digest


def test_a_member_whose_settings_have_no_value_is_planned_all_the_same(tmp_path, monkeypatch):
    monkeypatch.delenv("NOT_SET", raising=False)
    good, bad = Planning(tmp_path).plan("seed=1", "name=${oc.env:NOT_SET}")
    assert good.digest
    assert bad.digest == ""
    assert bad.folder.parent == tmp_path


def test_settings_that_would_join_members_in_one_folder_are_refused(tmp_path):
    for job in ("run_dir=here;seed=1", "resume=there"):
        with pytest.raises(ConfigError, match=r"hydra\.sweep\.dir"):
            Planning(tmp_path).plan(job)


def test_long_names_are_cut_and_stay_apart(tmp_path):
    planning = Planning(tmp_path, "hydra.sweep.subdir=${name}")
    members = planning.plan(f"name='{'ö' * 150}1'", f"name='{'ö' * 150}2'")
    assert all(len(name.encode()) <= 100 for name in names(members))
    assert len(set(names(members))) == 2


@settings(max_examples=200, deadline=None)
@given(text=st.text(st.characters(blacklist_characters="\0\n\r", blacklist_categories=["Cs"]), min_size=1, max_size=30))
def test_any_folder_reaches_hydra_as_it_is(text):
    folder = Path("/sweeps") / text.replace("/", "|")
    arguments = member_arguments(SweepMember(0, ("seed=1",), folder, ""))
    assert arguments[:2] == ["seed=1", "hydra.mode=RUN"]
    assert arguments[3] == "resume=auto"
    value = OverridesParser.create().parse_override(arguments[2]).value()
    assert OmegaConf.create({"x": value}).x == str(folder)


@settings(max_examples=100, deadline=None)
@given(
    jobs=st.lists(
        st.lists(
            st.tuples(st.sampled_from("abc"), st.text("x/ $:é'", max_size=40)),
            max_size=3,
            unique_by=lambda pair: pair[0],
        ),
        min_size=1,
        max_size=6,
    ),
    names_given=st.lists(st.sampled_from(["n", "m", "é" * 45]), min_size=6, max_size=6),
)
def test_no_two_members_share_a_name(jobs, names_given):
    asked = dict.fromkeys(tuple(f"{key}={value}" for key, value in job) for job in jobs)
    given_names = dict(zip(asked, names_given, strict=False))
    parted = members_module._apart(given_names, {})
    assert len(set(parted.values())) == len(asked)
    assert all(len(part.encode()) <= 100 for name in parted.values() for part in name.split("/"))


def test_members_start_as_the_sweep_did(tmp_path, monkeypatch):
    script = tmp_path / "my train.py"
    script.touch()
    monkeypatch.setattr(sys.modules["__main__"], "__file__", str(script), raising=False)
    monkeypatch.setattr(sys, "argv", ["x", "-m", "seed=1,2", "--config-dir", "mine", "-cn=other", "model=own"])
    monkeypatch.chdir(tmp_path)
    planning = Planning(tmp_path, "hydra.sweep.subdir=${name}", "hydra.launcher.at_once=3", "+hydra.job.env_set.A=1")
    door = door_of(planning.config)
    flags = ("--config-dir", str(tmp_path / "mine"), "--config-name", "other", "+hydra.job.env_set.A=1")
    assert door == Door(script, tmp_path, sys.executable, flags)
    assert door.command(["seed=1"]) == [sys.executable, str(script), *flags, "seed=1"]
    monkeypatch.setattr(sys.modules["__main__"], "__file__", None, raising=False)
    with pytest.raises(ConfigError, match="no running script"):
        door_of(planning.config)


def test_a_sweep_over_starts_has_a_training_for_each_and_goes_on_without_them(a_run, trained_unet, tmp_path):
    planning = Planning(tmp_path)
    jobs = [f"init_weights={place};seed=1" for place in (trained_unet, f"{trained_unet}:best", "'nowhere'")]
    one, two, three = planning.plan(*jobs, f"init_weights='{a_run}';seed=1")[:3]
    assert one.digest != two.digest
    assert three.digest == "", "its own process will say what is wrong"
    moved = a_run.rename(tmp_path / "a:b")
    other = planning.plan(f"init_weights='{moved}:last';seed=1")[0]
    assert other.digest == planning.plan(f"init_weights='{moved}';seed=1")[0].digest not in ("", one.digest)
