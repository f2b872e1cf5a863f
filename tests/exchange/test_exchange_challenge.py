"""A build context whose entry point serves the platform's folders with the masks of ``predict``."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import SimpleITK as sitk
import yaml

from strokelab.configuration import conf_folder
from strokelab.data import read_cases
from strokelab.errors import ConfigError, DataError
from strokelab.exchange.challenge import find_challenge, process
from strokelab.exchange.container import export_challenge, requirements
from strokelab.nifti import write_volume
from strokelab.phantoms.anatomy import template
from strokelab.phantoms.native import pose, scan_grid, see
from strokelab.runs import load_run

ISLES = [
    *("data=isles2022", "data.modalities=[DWI,ADC]", "model=unet2d", "model.network.base=2", "model.network.depth=2"),
    *(
        "split=all",
        "view.preparation.crop=null",
        "view.preparation.offset=null",
        "view.preparation.spacing=[8,8,8]",
        "view.sampler.min_brain_pixels=4",
    ),
    *("trainer.max_epochs=1", "data.batch_size=16", "callbacks.case_metrics=null", "data.prepare_workers=1"),
]


OBLIQUE = sitk.Euler3DTransform((0, 0, 0), 0.1, -0.05, 0.2)


def mha(path, to):
    to.parent.mkdir(parents=True, exist_ok=True)
    image = sitk.ReadImage(os.fspath(path))
    image.SetDirection(OBLIQUE.GetMatrix())
    sitk.WriteImage(image, os.fspath(to))
    return image


def scanned(to):
    """A stripped head in a scanner, oblique, 4 mm: fine enough to be registered."""
    to.parent.mkdir(parents=True, exist_ok=True)
    head, turned = template(4.0), np.reshape(OBLIQUE.GetMatrix(), (3, 3))
    grid = scan_grid((56, 64, 52), (4.0, 4.0, 4.0), turned, (18.0, -32.0, 20.0))
    moved = pose((4, -3, 6), (20.0, -35.0, 25.0))
    inside = see(head.brain.astype(np.float32), head.grid, grid, moved) > 0.5
    image = see(np.where(head.brain, head.tissue + 0.3, 0), head.grid, grid, moved)
    file = write_volume(to.with_suffix(".nii"), np.where(inside, 100 * image, 0).astype(np.float32), grid)
    image = sitk.ReadImage(os.fspath(file))
    file.unlink()
    sitk.WriteImage(image, os.fspath(to))
    return image


@pytest.fixture(scope="module")
def context(trained_run, tmp_path_factory):
    place = tmp_path_factory.mktemp("challenge") / "atlas"
    return export_challenge(
        find_challenge("atlas"), load_run(trained_run), trained_run, place, licence="MIT", name="atlas"
    )


def entry_point(context, folder):
    """The container's process, without the container."""
    words = [sys.executable, context / "process.py", folder / "input", folder / "output", "cpu"]
    places = {"STROKELAB_STORE": str(folder / "store"), "HOME": str(folder), "PATH": os.environ["PATH"]}
    places |= {"PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": str(folder)}
    return subprocess.run(list(map(str, words)), cwd=folder, env=places, capture_output=True, text=True, check=False)


def test_the_entry_point_answers_the_platforms_folders(context, trained_run, tmp_path):
    image = scanned(tmp_path / "input/images/t1-brain-mri/a1b2.mha")
    sitk.WriteImage(image, os.fspath(tmp_path / "scan_T1w.nii.gz"))
    done = entry_point(context, tmp_path)
    assert done.returncode == 0, done.stderr
    (mask,) = (tmp_path / "output").rglob("*.mha")
    assert mask == tmp_path / "output/images/stroke-lesion-segmentation/a1b2.mha"
    found = sitk.ReadImage(os.fspath(mask))
    for fact in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(found, fact)() == getattr(image, fact)()
    expected = load_run(trained_run).predict(tmp_path / "scan_T1w.nii.gz").mask
    assert np.array_equal(sitk.GetArrayFromImage(found).transpose(2, 1, 0), expected)
    results = json.loads((tmp_path / "output/results.json").read_text())
    assert results[0]["outputs"] == [{"type": "Image", "slug": "stroke-lesion-segmentation", "filename": "a1b2.mha"}]
    assert results[0]["inputs"] == [{"type": "Image", "slug": "t1-brain-mri", "filename": "a1b2.mha"}]


def test_the_context_is_whole_and_says_nothing_of_this_machine(context, session_folder):
    files = {path.relative_to(context).as_posix() for path in context.rglob("*") if path.is_file()}
    own = {"Dockerfile", "process.py", "requirements.txt", "test.sh", "model.zip", "challenge.json", "README.md"}
    assert own <= files
    assert {"strokelab/conf/train.yaml", "strokelab/runs/packed.py"} <= files
    assert not [name for name in files if name.endswith(".pyc")]
    texts = "".join((context / name).read_text() for name in own - {"model.zip"})
    assert str(session_folder) not in texts
    assert "{" not in (context / "Dockerfile").read_text()
    subprocess.run(["bash", "-n", str(context / "test.sh")], check=True)
    pins = dict(line.split("==") for line in requirements())
    assert {"torch", "SimpleITK", "nibabel"} <= set(pins)
    assert "+" not in pins["torch"]


def test_dwi_and_adc_in_and_a_mask_on_the_grid_of_the_dwi(isles_cohort, doors, tmp_path):
    doors.train(*ISLES, f"data.root={isles_cohort}", "run_dir=run", cwd=tmp_path).check()
    case = read_cases("isles2022", isles_cohort)[0]
    dwi = mha(case.images["DWI"], tmp_path / "input/images/dwi-brain-mri/one.mha")
    adc = mha(case.images["ADC"], tmp_path / "input/images/adc-brain-mri/two.mha")
    challenge = find_challenge("isles22")
    context = export_challenge(
        challenge, load_run(tmp_path / "run"), tmp_path / "run", tmp_path / "context", licence="MIT", name="isles22"
    )
    done = entry_point(context, tmp_path)
    assert done.returncode == 0, done.stderr
    (mask,) = (tmp_path / "output").rglob("*.mha")
    assert mask == tmp_path / "output/images/stroke-lesion-segmentation/one.mha"
    found = sitk.ReadImage(os.fspath(mask))
    assert (found.GetSize(), found.GetDirection()) == (dwi.GetSize(), dwi.GetDirection())
    for name, image in (("DWI", dwi), ("ADC", adc)):
        sitk.WriteImage(image, os.fspath(tmp_path / f"x_{name}.nii.gz"))
    pair = {name: tmp_path / f"x_{name}.nii.gz" for name in ("DWI", "ADC")}
    assert np.array_equal(
        sitk.GetArrayFromImage(found).transpose(2, 1, 0), load_run(tmp_path / "run").predict(pair).mask
    )
    whole = (tmp_path / "input/images/adc-brain-mri/two.mha").read_bytes()
    sitk.WriteImage(0 * adc, os.fspath(tmp_path / "input/images/adc-brain-mri/two.mha"))
    with pytest.raises(DataError) as constant:
        process(challenge, tmp_path / "run", tmp_path / "input", tmp_path / "output", device="cpu")
    assert constant.value.where == str(tmp_path / "input/images/adc-brain-mri/two.mha")
    (tmp_path / "input/images/adc-brain-mri/two.mha").write_bytes(whole)
    mha(case.images["ADC"], tmp_path / "input/images/adc-brain-mri/three.mha")
    with pytest.raises(DataError, match=r"2 \.mha files"):
        process(challenge, tmp_path / "run", tmp_path / "input", tmp_path / "output", device="cpu")
    for path in (tmp_path / "input/images/adc-brain-mri").iterdir():
        path.unlink()
    with pytest.raises(DataError, match=r"0 \.mha files"):
        process(challenge, tmp_path / "run", tmp_path / "input", tmp_path / "output", device="cpu")
    (tmp_path / "input/images/adc-brain-mri/two.mha").write_text("no image")
    with pytest.raises(DataError, match=r"\.mha format"):
        process(challenge, tmp_path / "run", tmp_path / "input", tmp_path / "output", device="cpu")


def test_a_model_of_other_images_is_an_error(trained_run, tmp_path):
    with pytest.raises(ConfigError, match="T1w"):
        export_challenge(find_challenge("isles22"), load_run(trained_run), trained_run, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    with pytest.raises(ConfigError, match="lies there"):
        export_challenge(find_challenge("atlas"), load_run(trained_run), trained_run, tmp_path)


def test_challenges_are_yaml(tmp_path):
    for path in (conf_folder() / "challenge").glob("*.yaml"):
        found = find_challenge(path.stem)
        assert found.grid in found.images
        assert find_challenge(str(path)) == found
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(find_challenge("atlas").to_json() | {"grid": "T1w"}))
    assert find_challenge(str(tmp_path / "mine.yaml")) == find_challenge("atlas")
    (tmp_path / "half.yaml").write_text("title: x\n")
    with pytest.raises(ConfigError, match="missing"):
        find_challenge(str(tmp_path / "half.yaml"))
    with pytest.raises(ConfigError, match="atlas, isles22"):
        find_challenge("isles99")
