"""Remedies about BIDS trees, followed on files of which only the names count."""

from pathlib import Path

import pytest
from doing import executes, said, settings, told

from strokelab.configuration.overriding import override
from strokelab.contract import Case
from strokelab.data import read_cases

pytestmark = pytest.mark.filterwarnings("ignore::strokelab.errors.DataWarning")


def touched(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / f"{name}.nii.gz").touch()
    return root


def read(root: Path, *words: str) -> list[Case]:
    """The cohort that these settings of ``train.py`` read."""
    options = override(settings("data=bids", "data.modalities=[T1w]", "data.root=x"), list(words))["data"]["options"]
    return read_cases("bids", root, **{name: value for name, value in options.items() if value is not None})


@executes("strokelab/data/readers/bids.py:image", "strokelab/data/readers/bids.py:label")
@executes("strokelab/data/readers/bids.py:lesions", "strokelab/data/readers/_bids_tables.py:of")
def test_options_of_the_bids_reader(tmp_path):
    root = touched(tmp_path / "a", "sub-1/anat/sub-1_run-1_T1w", "sub-1/anat/sub-1_run-2_T1w")
    words = told(said(read, root).remedy)
    assert words == ["data.options.repeats=first", "data.options.prefer={run: 1}"]
    for word in words:
        assert len(read(root, word)) == 1
    root = touched(tmp_path / "b", "sub-1/anat/sub-1_T1w")
    (word,) = told(said(read, root, "data.options.label_modality=DWI").remedy)
    assert read(root, word)
    masks = [f"derivatives/{name}/sub-1/anat/sub-1_label-lesion_mask" for name in ("one", "two")]
    (word,) = told(said(read, touched(root, *masks)).remedy)
    assert read(root, word)
    (root / "participants.tsv").write_text("participant_id\thospital\nsub-1\tA\n")
    (word,) = told(said(read, root, "data.options.masks_from=one", "data.options.site_column=scanner").remedy)
    assert [case.site for case in read(root, "data.options.masks_from=one", word)] == ["A"]
