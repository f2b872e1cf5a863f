"""Remedies about packed models, challenges and choices, followed where they were printed."""

import shutil

import pytest
from doing import executes, options, quiet, said, strokelab

from strokelab.configuration.listing import find_group
from strokelab.exchange import pack as packing
from strokelab.exchange.model_card import scores_of
from strokelab.runs import load_ensemble, load_run, open_packed


@executes("strokelab/configuration/listing.py:find_group")
def test_a_group_that_is_not_there():
    remedy = said(find_group, "modles").remedy
    assert remedy.startswith("strokelab list ")
    assert "model" in strokelab("list")
    assert find_group("models") == "model"


@executes("strokelab/exchange/pack.py:_check_out", "strokelab/exchange/pack.py:members_of")
@executes("strokelab/exchange/model_card.py:scores_of")
def test_a_pack_that_does_not_begin(trained_run, trained_unet, tmp_path):
    run, out = load_run(trained_run), tmp_path / "m.zip"
    out.write_text("mine")
    (option,) = options(said(packing.pack, run, out, licence="x").remedy)
    strokelab("pack", trained_run, out, "--licence", "x", option)
    assert open_packed(out).licence == "x"
    name = said(packing.pack, run, tmp_path / "m.tar", licence="x").remedy.removeprefix("call it ")
    assert (name, packing.pack(run, tmp_path / "new" / name, licence="x") != "") == ("m.zip", True)

    fed = load_ensemble([trained_run], modalities=["FLAIR", "T1w"])
    assert options(said(packing.members_of, fed).remedy) == ["--as-each"]
    assert len(packing.members_of(load_ensemble([trained_run]))) == 1

    members = packing.members_of(run)
    assert options(said(scores_of, members, run.digest, trained_unet).remedy) == ["--evaluation"]
    assert scores_of(members, run.digest, None) is not None


@executes("strokelab/runs/packed.py:open_packed", "strokelab/runs/packed.py:_unpacked")
@executes("strokelab/exchange/pack.py:pack")
def test_a_licence_and_a_place_to_unpack(trained_run, tmp_path, monkeypatch):
    from strokelab.errors import DataWarning

    out = tmp_path / "m.zip"
    with pytest.warns(DataWarning, match="--licence") as caught:
        packing.pack(load_run(trained_run), out)
    assert options(str(caught[0].message)) == ["--licence"]
    with pytest.warns(DataWarning, match="strokelab pack --licence"):
        open_packed(out)
    strokelab("pack", trained_run, out, "--licence", "CC0-1.0", "--overwrite")
    quiet(open_packed, out)

    (tmp_path / "file").write_text("")
    monkeypatch.setenv("STROKELAB_STORE", str(tmp_path / "file" / "store"))
    monkeypatch.setattr("tempfile.mkdtemp", lambda **_: (tmp_path / "file" / "x").mkdir())
    error = said(open_packed, out)
    variable = error.remedy.partition("export ")[2].partition("=")[0]
    monkeypatch.setenv(variable, str(tmp_path / "scratch"))
    assert open_packed(out).folders[0].is_relative_to(tmp_path / "scratch")
    shutil.rmtree(tmp_path / "scratch")
