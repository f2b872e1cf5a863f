"""The W&B logger by itself: which mode, under which id, what may leave, how it ends. Wandb is real, files are read."""

from contextlib import suppress

import numpy as np
import pandas as pd
import pytest
import wandb
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import Logger
from wandb_files import offline_runs

from strokelab.callbacks.run_facts import TAG_LIMIT, RunFacts
from strokelab.callbacks.sharing import may_share_case_ids, may_share_images, shared_settings, shared_table
from strokelab.callbacks.wandb_media import Slice
from strokelab.callbacks.wandb_session import chosen_mode, has_key, mark_ended, run_id, set_aside
from strokelab.callbacks.weights_and_biases import WeightsAndBiases
from strokelab.data.splits import Split
from strokelab.errors import ConfigError
from strokelab.scoring import Scores
from strokelab.training import boards

SECRET = "patient-mueller-1953"


@pytest.fixture(autouse=True)
def nobody(monkeypatch, tmp_path):
    """No key, no mode, no home of the user's."""
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_BASE_URL", "WANDB_ENTITY", "WANDB_DATA_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    return tmp_path / "netrc"


def facts_for(folder, **other):
    known = {"family": "unet2d", "dataset": "atlas_v1", "phantom": False, "split": "kfold", "fold": "2"}
    known |= {"held_out": "", "seed": 0, "settings": {"model": {"base": 8}}, "environment": {"commit": "abc1234"}}
    return RunFacts(**{"folder": folder, **known, **other})


def case_table(case="sub-r001s001", **other):
    row = {"run": "unet2d", "case": case, "subject": case[:8], "site": "Site1", "fold": "2", "weights": "ab12"}
    row |= {"dice": 0.5, "hd95": float("inf"), "lesion_ml": 3.0, "tp": 5, "fp": 5, "fn": 5, "tn": 85, "error": ""}
    return pd.DataFrame([row | other, row | {"case": f"{case}-10", "error": f"{case}.nii.gz is damaged"}])


SLICE = Slice("best", SECRET, 0.5, np.full((6, 8), 100, np.uint8), np.eye(6, 8), np.ones((6, 8)))


def test_without_a_key_wandb_writes_files(monkeypatch, tmp_path):
    assert not has_key()
    assert WeightsAndBiases(tmp_path).mode == "offline"
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    assert WeightsAndBiases(tmp_path).mode == "online"


def test_a_login_on_this_machine_is_for_its_server(nobody, monkeypatch):
    nobody.write_text("machine wandb.example.org login user password secret\n")
    nobody.chmod(0o600)
    assert not has_key()
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert has_key()
    nobody.write_text("machine\n")
    assert not has_key(), "a file nobody can read is no login"


@pytest.mark.parametrize(("asked", "mode"), [("online", "online"), ("offline", "offline"), ("dryrun", "offline")])
def test_what_the_user_asks_for_is_done(asked, mode, monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    assert chosen_mode(asked) == mode
    monkeypatch.setenv("WANDB_MODE", asked)
    assert chosen_mode(None) == mode
    assert chosen_mode("disabled") == "disabled"


@pytest.mark.parametrize(("asked", "found"), [("online", "no key"), ("ofline", "'ofline'")])
def test_a_mode_that_cannot_be_is_said_before_anything_is_trained(asked, found, tmp_path):
    with pytest.raises(ConfigError, match=found):
        WeightsAndBiases(tmp_path, mode=asked)


def test_a_server_that_does_not_answer_costs_no_training(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")  # nobody listens
    logger = WeightsAndBiases(tmp_path, init_timeout=1)
    logger.describe(facts_for(tmp_path))
    logger.log_metrics({"val/dice": 0.5}, step=3)
    logger.close(0)
    (found,) = offline_runs(tmp_path)
    assert found.values() == {("val/dice", 3): 0.5}
    assert "W&B offline (the server cannot be used" in capsys.readouterr().out
    assert not list(tmp_path.glob("wandb/run-*")), "nothing of the attempt is left to be uploaded"


def test_two_runs_of_one_process_stay_apart_and_end_as_they_ended(tmp_path):
    somebody_elses = wandb.init(mode="offline", dir=str(tmp_path), settings=wandb.Settings(silent=True))
    for name, status in (("first", 0), ("second", 143)):
        logger = WeightsAndBiases(tmp_path / name)
        logger.describe(facts_for(tmp_path / name, family=name))
        logger.log_metrics({"val/dice": float(status)}, step=0)
        logger.finalize("success" if status == 0 else "failed")  # the test part comes after Lightning's end
        assert not (tmp_path / name / "netrc").exists()
        logger.log_metrics({"val/dice": float(status)}, step=1)
        logger.close(status)
        logger.close(status)
    somebody_elses.finish()
    for name, status in (("first", 0), ("second", 143)):
        links = [path for path in (tmp_path / name).rglob("*") if path.is_symlink()]
        assert not [link for link in links if not link.resolve().is_relative_to(tmp_path / name)]
        assert not [link for link in links if link.readlink().is_absolute()], "the folder can be moved"
        (found,) = offline_runs(tmp_path / name)
        assert found.run.display_name == f"{name}-atlas_v1-fold2-seed0"
        assert found.values() == {("val/dice", 0): float(status), ("val/dice", 1): float(status)}
        assert found.exit_code == status


def test_pictures_of_persons_and_ids_of_ones_own_stay_here_even_offline(tmp_path):
    settings = {"data": {"root": f"/data/{SECRET}/x", "exclude": [SECRET]}, "model": {"base": 8}}
    facts = facts_for(
        tmp_path, dataset="folder", settings=settings, environment={"command": f"train.py data.exclude=[{SECRET}]"}
    )
    logger = WeightsAndBiases(tmp_path)
    logger.describe(facts)
    logger.log_metrics({"val/dice": 0.5}, step=3)
    logger.log_cases(Scores(case_table(SECRET), pd.DataFrame()))
    assert not logger.takes_overlays
    logger.log_overlays([SLICE])
    logger.close(0)
    (found,) = offline_runs(tmp_path)
    assert not found.pictures()
    assert not found.arguments
    assert [row["case"] for row in found.table("test/per_case")] == ["case 0001", "case 0002"]
    assert [row["error"] for row in found.table("test/per_case")] == ["", "failed"]
    assert found.config["data"] == {"root": ".../x", "exclude": "1 cases"}
    assert found.summary["test/dice"] == 0.5
    assert found.summary["test/failed_cases"] == 1
    whole = [path for path in tmp_path.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()]
    assert not whole, f"{whole} would leave the machine"


def test_stages_and_snapshots_are_there_to_group_by(tmp_path):
    for name, stages, kept in (
        ("both", {"zoom_in": {}, "zoom_out": {}}, ["zoom_out-0002", "zoom_out-0001"]),
        ("one", {}, []),
    ):
        folder = tmp_path / name
        (folder / "checkpoints").mkdir(parents=True)
        for snapshot in kept:
            (folder / "checkpoints" / f"snapshot-{snapshot}.ckpt").touch()
        logger = WeightsAndBiases(folder)
        logger.describe(facts_for(folder, settings={"stages": stages}))
        logger.log_metrics({"stage": 1.0}, step=0)
        logger.log_metrics({"stage": 2.0, "snapshot/rate": 1e-5}, step=1)
        logger.close(0)
        (found,) = offline_runs(folder)
        assert found.config["stage_names"] == ", ".join(stages)
        assert found.config["stages"] == stages, "the settings under their own name"
        assert found.values() == {("stage", 0): 1.0, ("stage", 1): 2.0, ("snapshot/rate", 1): 1e-5}
        expected = ["snapshot-zoom_out-0001", "snapshot-zoom_out-0002"] if kept else None
        assert found.summary.get("snapshots") == expected


def test_an_explicit_word_shares_both(tmp_path):
    logger = WeightsAndBiases(tmp_path, share_images=True, share_case_ids=True)
    logger.describe(facts_for(tmp_path, dataset="folder"))
    logger.log_metrics({"val/dice": 0.5}, step=3)
    logger.log_cases(Scores(case_table(SECRET), pd.DataFrame()))
    assert logger.takes_overlays
    logger.log_overlays([SLICE])
    logger.close(0)
    (found,) = offline_runs(tmp_path)
    assert len(found.pictures()) == 3
    assert SECRET in found.summary["test/overlays"]["captions"][0]
    assert found.table("test/per_case")[0]["case"] == SECRET
    assert found.history[-1]["trainer/global_step"] == 3, "the test part stands at the last step"


def test_only_the_first_process_has_a_run(tmp_path, monkeypatch):
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    logger = WeightsAndBiases(tmp_path, share_images=True)
    logger.describe(facts_for(tmp_path))
    logger.log_metrics({"val/dice": 0.5}, step=3)
    _ = logger.experiment.id
    logger.log_cases(Scores(case_table(), pd.DataFrame()))
    logger.log_overlays([SLICE])
    logger.close(0)
    assert not list(tmp_path.iterdir())


def test_one_id_until_the_training_ended_or_became_another(tmp_path):
    first = run_id(tmp_path, {"seed": 0}, resumed=False)
    assert run_id(tmp_path, {"seed": 0}, resumed=True) == first
    assert run_id(tmp_path, {"seed": 0}, resumed=False) == first, "killed before its first checkpoint"
    assert run_id(tmp_path, {"seed": 0, "epochs": 9}, resumed=True) == first, "trained for longer"
    assert run_id(tmp_path, {"seed": 1}, resumed=False) != first
    again = run_id(tmp_path, {"seed": 0}, resumed=False)
    mark_ended(tmp_path)
    assert run_id(tmp_path, {"seed": 0}, resumed=False) != again


@pytest.mark.parametrize("content", ["", "[]", '{"id": "../../x"}', '{"id": 7}', "\x00"])
def test_a_damaged_identity_is_replaced(content, tmp_path):
    (tmp_path / "wandb.json").write_text(content)
    assert run_id(tmp_path, {}, resumed=True).isalnum()


def test_parts_that_were_uploaded_are_not_set_aside(tmp_path):
    part = tmp_path / "wandb" / "offline-run-20261120_120000-abcd1234"
    other = tmp_path / "wandb" / "offline-run-20261120_110000-ffff0000"
    for folder in (part, other):
        folder.mkdir(parents=True)
    (part / "run-abcd1234.wandb.synced").touch()
    assert not set_aside(tmp_path, "abcd1234")
    assert part.is_dir()
    (part / "run-abcd1234.wandb.synced").unlink()
    assert set_aside(tmp_path, "abcd1234")
    assert not part.exists()
    assert other.is_dir(), "another run's"
    assert (tmp_path / "wandb" / "superseded" / part.name).is_dir()


@pytest.mark.parametrize(
    ("dataset", "phantom", "asked", "images", "ids"),
    [
        ("atlas_v1", False, None, False, True),
        ("isles2022", False, None, False, True),
        ("folder", False, None, False, False),
        ("phantom_atlas_v1", True, None, True, True),
        ("phantom_atlas_v1", True, False, False, False),
        ("folder", False, True, True, True),
    ],
)
def test_what_may_leave(dataset, phantom, asked, images, ids, tmp_path):
    facts = facts_for(tmp_path, dataset=dataset, phantom=phantom)
    allowed, why = may_share_images(facts, asked)
    assert allowed == images
    assert bool(why) != images
    assert may_share_case_ids(facts, asked) == ids


def test_numbered_cases_are_the_same_in_every_run_on_them():
    cases = pd.DataFrame({"case": ["b-10", "b-9", "a"], "error": ["", "b-9 broken", ""], "dice": [1.0, 0.5, 0.0]})
    table = shared_table(cases, case_ids=False)
    assert dict(zip(table["dice"], table["case"], strict=True)) == {
        1.0: "case 0003",
        0.5: "case 0002",
        0.0: "case 0001",
    }
    assert list(table["error"]) == ["", "failed", ""]


def test_shared_settings_keep_what_is_no_name(tmp_path):
    node = {"data": {"options": {"exclude": ["x", "y"]}, "root": "C:\\data\\x"}, "lr": 0.1, "tags": ["~/a/b", "c"]}
    shown = shared_settings(facts_for(tmp_path, settings=node), case_ids=False)
    assert shown["data"]["options"]["exclude"] == "2 cases"
    assert (shown["lr"], shown["tags"]) == (0.1, [".../b", "c"])
    assert shown["environment"] == {"commit": "abc1234"}


def test_tags_are_short_and_stand_once(tmp_path):
    facts = facts_for(tmp_path, family="x" * 100, dataset="kfold", held_out="")
    assert facts.tags == ["x" * TAG_LIMIT, "kfold", "fold 2"]


@pytest.mark.parametrize(
    ("test_sites", "held_out", "name"),
    [
        (["S1", "S1"], "S1", "unet-atlas_v1-S1-seed4"),
        (["S1", "S3"], "", "unet-atlas_v1-fold1-seed4"),
        (["S2", "S2"], "", "unet-atlas_v1-fold1-seed4"),
    ],
    ids=["one site", "two sites", "also trained on"],
)
def test_a_site_is_held_out_when_it_alone_tests_and_none_of_it_trains(test_sites, held_out, name, tmp_path):
    about = {"a": ("a", "S2"), **{f"t{i}": (f"t{i}", site) for i, site in enumerate(test_sites)}}
    split = Split(train=("a",), val=(), test=("t0", "t1"), about=about)
    rule = {"_target_": "strokelab.data.splits.SizeBalancedKFold", "fold": 1}
    settings = {"name": "unet", "seed": 4, "split": rule, "cohort": {"dataset": "atlas_v1", "phantom": False}}
    facts = boards.facts_of(settings, tmp_path, split)
    assert (facts.held_out, facts.name, facts.split) == (held_out, name, "size_balanced_kfold")
    assert facts.sweep == ""


@pytest.mark.parametrize(
    ("ending", "status"),
    [(None, 0), (SystemExit(143), 143), (ValueError("x"), 1), (KeyboardInterrupt(), 1), (SystemExit("no"), 1)],
)
def test_loggers_close_with_the_status_of_the_work(ending, status):
    class Closing(Logger):
        name = version = ""
        closed = None

        def log_metrics(self, metrics, step=None):
            pass

        def log_hyperparams(self, params, *args, **kwargs):
            pass

        def close(self, status):
            self.closed = status

    logger = Closing()
    with suppress(BaseException), boards.closed([logger]):
        if ending is not None:
            raise ending
    assert logger.closed == status
