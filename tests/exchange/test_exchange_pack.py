"""A run packed into one file predicts the same bits elsewhere, and says neither who was scanned nor where."""

import hashlib
import json
import os
import pickle
import re
import shutil
import zipfile

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from typer.testing import CliRunner

from strokelab import runs
from strokelab.cli import app
from strokelab.data import read_cases
from strokelab.errors import ConfigError, DataWarning, RunError
from strokelab.evaluation.candidates import candidates_of
from strokelab.evaluation.seen import untold
from strokelab.evaluation.sweep import members, members_and_inputs
from strokelab.exchange.pack import pack
from strokelab.exchange.travelling import settings_that_travel
from strokelab.runs import load_ensemble, load_run, open_packed, start_from, with_init_weights


@pytest.fixture(scope="module")
def packed(trained_run, tmp_path_factory):
    path = tmp_path_factory.mktemp("packed") / "model.zip"
    pack(load_run(trained_run), path, licence="CC-BY-4.0")
    return path


@pytest.fixture(scope="module")
def scan(t1_cohort):
    return next(case for case in read_cases("atlas_v1", t1_cohort) if case.site == "Site1")


def same(one, other):
    assert np.array_equal(one.mask, other.mask)
    assert np.array_equal(one.probability, other.probability)


def test_a_packed_run_predicts_the_same_bits(packed, trained_run, scan):
    model, own = load_run(packed), load_run(trained_run)
    same(model.predict(scan), own.predict(scan))
    assert (model.digest, model.epoch, model.sites) == (own.digest, own.epoch, own.sites)
    assert not [line for line in (repr(model), repr(own)) if "\n" in line]


def test_a_packed_mean_predicts_the_same_bits(trained_run, trained_unet, scan, tmp_path):
    own = load_ensemble([trained_unet, trained_run])
    pack(own, tmp_path / "mean.zip", licence="CC0-1.0")
    opened = open_packed(tmp_path / "mean.zip")
    assert [folder.name for folder in opened.folders] == ["1_sgnet", "2_unet2d"]
    model = load_ensemble([tmp_path / "mean.zip"])
    same(model.predict(scan, disagreement=True), own.predict(scan, disagreement=True))
    assert model.digest == own.digest
    with pytest.raises(RunError, match="mean of 2 runs"):
        load_run(tmp_path / "mean.zip")


def test_several_checkpoints_are_packed_as_their_mean(trained_run, scan, tmp_path):
    asked = [word for name in ("last", "best") for word in ("--checkpoint", name)]
    done = CliRunner().invoke(
        app, ["pack", str(trained_run), str(tmp_path / "two.zip"), "--licence", "CC0-1.0", *asked]
    )
    assert done.exit_code == 0, done.output
    own = load_ensemble([trained_run], checkpoint=["last", "best"])
    same(load_ensemble([tmp_path / "two.zip"]).predict(scan), own.predict(scan))


def test_messages_about_its_runs_name_the_file(packed):
    (folder,) = open_packed(packed).folders
    assert folder.parent.parent.name.startswith("model-")
    (folder / "checkpoints/last.safetensors").unlink()
    assert open_packed(packed).folders == (folder,)  # what is unpacked is held against the file each time
    assert (folder / "checkpoints/last.safetensors").is_file()


def test_a_training_starts_from_it(packed, trained_run, tmp_path):
    settings = {"init_weights": str(packed)}
    found = with_init_weights(settings)
    own = with_init_weights({"init_weights": f"{trained_run}:last"})["init_weights"]
    assert (found["init_weights"]["run"], found["init_weights"]["file"]) == (str(packed), "last.safetensors")
    assert found["init_weights"]["weights"] == own["weights"]  # another start would be another training
    assert with_init_weights({"init_weights": f"{packed}:last"})["init_weights"]["weights"] == own["weights"]
    model = load_run(trained_run).model
    want = {name: value.clone() for name, value in model.state_dict().items()}
    for value in model.state_dict().values():
        value.zero_()
    line, record = start_from(model, found, [])
    assert all(torch.equal(model.state_dict()[name], value) for name, value in want.items())
    assert line.startswith(f"Starts from {packed}")
    assert "does not say which scans" in line
    with pytest.raises(RunError, match="no packed model"):
        with_init_weights({"init_weights": str(tmp_path / "gone.zip")})
    with pytest.raises(RunError, match=r"no best\.ckpt"):
        with_init_weights({"init_weights": f"{packed}:best"})
    folder = tmp_path / "run"
    shutil.copytree(trained_run, folder)
    (folder / "init_weights.json").write_text(json.dumps(record))
    (candidate,) = candidates_of([folder], [], checkpoint=None, allow=())
    assert ["packed model" in words for words in untold(candidate, [])] == [True]


def test_equal_runs_give_equal_files(packed, trained_run, tmp_path):
    moved = shutil.copytree(trained_run, tmp_path / "elsewhere" / "run")
    pack(load_run(moved), tmp_path / "again.zip", licence="CC-BY-4.0")
    assert (tmp_path / "again.zip").read_bytes() == packed.read_bytes()


def test_neither_ids_nor_places_travel(packed, trained_run, session_folder):
    split = runs.read_split(trained_run)
    ids = {*split.about, *(subject for subject, _ in split.about.values())}
    with zipfile.ZipFile(packed) as archive:
        texts = {name: archive.read(name).decode() for name in archive.namelist() if "checkpoints" not in name}
        weights = archive.read("runs/sgnet/checkpoints/last.safetensors")[:20_000]
    every = "\n".join(texts.values())
    assert not [word for word in ids if word in every or word.encode() in weights]
    assert str(session_folder) not in every
    assert not re.search(r"(^|[\s'\"=:])(/|~/)\w", every)
    assert json.loads(texts["runs/sgnet/environment.json"])["packed"]["cases"]["train"]["scans"] == len(split.train)
    assert texts["runs/sgnet/split.csv"].splitlines() == ["case_id,subject_id,site,part"]


def test_the_card_says_what_the_run_folder_says(packed, trained_run):
    card = open_packed(packed).card
    table = pd.read_csv(trained_run / "cases.csv")
    assert "- **Licence**: CC-BY-4.0" in card
    assert f"| Dice | {table['dice'].mean():.3f} | {table['dice'].std():.3f} | {table['dice'].median():.3f} |" in card
    assert "synthetic phantoms, no patients" in card
    assert "| train | 3 | 3 | Site2 2, Site3 1 |" in card
    assert load_run(trained_run).digest in card


def test_scores_of_other_weights_are_an_error(trained_run, trained_unet, tmp_path):
    with pytest.raises(RunError, match="weights of this model"):
        pack(load_run(trained_run), tmp_path / "m.zip", licence="x", evaluation=trained_unet)
    pack(load_run(trained_run), tmp_path / "m.zip", licence="x", evaluation=trained_run)
    assert "an evaluation of the model itself" in open_packed(tmp_path / "m.zip").card


def test_a_card_without_licence_says_so_twice(trained_run, tmp_path):
    with pytest.warns(DataWarning, match="--licence"):
        pack(load_run(trained_run), tmp_path / "m.zip")
    with pytest.warns(DataWarning, match="names no licence"):
        opened = open_packed(tmp_path / "m.zip")
    assert (opened.licence, "none given" in opened.card) == ("", True)


def test_a_file_that_lies_there_stands(packed, trained_run):
    before = packed.read_bytes()
    with pytest.raises(ConfigError, match="--overwrite"):
        pack(load_run(trained_run), packed, licence="x")
    with pytest.raises(ConfigError, match="ending"):
        pack(load_run(trained_run), packed.with_suffix(".tar"), licence="x")
    assert packed.read_bytes() == before


def test_packing_again_keeps_the_counts(packed, tmp_path):
    pack(load_run(packed), tmp_path / "m.zip", licence="MIT")
    opened = open_packed(tmp_path / "m.zip")
    assert "| train | 3 | 3 | Site2 2, Site3 1 |" in opened.card
    assert (opened.licence, load_run(tmp_path / "m.zip").digest) == ("MIT", load_run(packed).digest)


def test_a_model_that_needs_a_place_of_this_machine_stays(trained_run):
    settings = runs.read_settings(trained_run)
    network = {**settings["model"]["network"], "weights": "/scratch/weights.pt"}
    with pytest.raises(ConfigError, match="a place on this machine"):
        settings_that_travel({**settings, "model": {**settings["model"], "network": network}}, frozenset(), trained_run)
    subject = {**settings["postprocess"], "label": "031796"}
    with pytest.raises(ConfigError, match="id of a subject"):
        settings_that_travel({**settings, "postprocess": subject}, frozenset({"031796"}), trained_run)


def test_matrix_and_predict_take_it_where_they_take_a_run(packed, scan):
    (candidate,) = candidates_of([packed], [], checkpoint=None, allow=())
    assert (candidate.name, candidate.checkpoint.name, candidate.split.train) == ("sgnet", "last.safetensors", ())
    folders, inputs = members_and_inputs([packed, scan.reference_image])
    assert (folders, inputs) == (members(packed), [scan.reference_image])


def test_the_commands(trained_run, scan, tmp_path):
    def call(*words):
        said = CliRunner().invoke(app, [str(word) for word in words])
        assert said.exit_code == 0, said.output
        return said.output

    out = call("pack", trained_run, tmp_path / "m.zip", "--licence", "CC-BY-4.0")
    assert "SHA-256" in out
    call("predict", tmp_path / "m.zip", scan.reference_image, "--out", tmp_path / "a", "--as", "T1w")
    call("predict", trained_run, scan.reference_image, "--out", tmp_path / "b", "--as", "T1w")
    masks = [sorted(path.read_bytes() for path in (tmp_path / name).rglob("*.nii.gz")) for name in "ab"]
    assert masks[0] == masks[1]


def test_it_is_evaluated_on_data_that_are_named(packed, t1_cohort, doors, tmp_path):
    words = [f"runs=[{packed}]", "save_predictions=false", "out=out"]
    done = doors.evaluate(*words, cwd=tmp_path)
    assert done.status != 0
    assert "data=... data.root=FOLDER" in done.output
    done = doors.evaluate(*words, "data=atlas_v1", f"data.root={t1_cohort}", cwd=tmp_path).check()
    assert len(pd.read_csv(tmp_path / "out/cases.csv")) == 9
    assert "it may have seen these cases" in done.output


def rewritten(packed, out, member, raw):
    """The packed model of an attacker: another member, and a manifest that fits it."""
    with zipfile.ZipFile(packed) as archive:
        members = {name: archive.read(name) for name in archive.namelist() if name != "manifest.json"}
        manifest = json.loads(archive.read("manifest.json"))
    members[member] = raw(members[member])
    entry = {"bytes": len(members[member]), "sha256": hashlib.sha256(members[member]).hexdigest()}
    manifest["members"][member] = entry
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr("manifest.json", json.dumps(manifest))
        for name, content in members.items():
            archive.writestr(name, content)
    return out


class Evil:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def test_an_attackers_file_runs_nothing(packed, tmp_path):
    proof = tmp_path / "proof"

    def evil_config(raw):
        settings = yaml.safe_load(raw)
        settings["postprocess"] = {"_target_": "os.mkdir", "path": str(proof)}
        return yaml.safe_dump(settings).encode()

    config = rewritten(packed, tmp_path / "config.zip", "runs/sgnet/config.yaml", evil_config)
    with pytest.raises(ConfigError, match=r"os\.mkdir"):
        load_run(config)
    pickled = rewritten(
        packed, tmp_path / "w.zip", "runs/sgnet/checkpoints/last.safetensors", lambda _: pickle.dumps(Evil(proof))
    )
    with pytest.raises(RunError, match="no safetensors file"):
        load_run(pickled)
    assert not proof.exists()
