"""The words of the house: what a case is, how an error reads."""

import pickle
import warnings
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest

from strokelab.contract import Case, LesionFile, Prediction, check_unique
from strokelab.errors import ConfigError, DataError, DataWarning, RunError, StrokelabError, plain_warnings
from strokelab.grid import Grid


def case(case_id, folder="x"):
    return Case(
        case_id, "person", "folder", None, {"T1w": Path(folder) / "t1.nii.gz", "FLAIR": Path(folder) / "f.nii.gz"}
    )


def test_a_case_knows_its_reference_and_whether_it_is_labelled():
    plain = case("a")
    assert plain.reference_image == Path("x/t1.nii.gz")
    assert not plain.labelled
    drawn = Case("a", "a", "d", "s", plain.images, (LesionFile(Path("m")),), label_modality="FLAIR")
    assert drawn.reference_image == Path("x/f.nii.gz")
    assert drawn.labelled


def test_ids_are_unique_or_both_files_are_named():
    check_unique([case("a"), case("b")], "here")
    with pytest.raises(DataError) as caught:
        check_unique([case("a", "one"), case("b"), case("a", "two")], "cohort")
    for words in ("cohort", "'a' twice", "one/t1.nii.gz", "two/t1.nii.gz", "data.exclude"):
        assert words in str(caught.value)


@pytest.mark.parametrize("kind", [StrokelabError, DataError, ConfigError, RunError])
def test_errors_say_four_things_and_cross_processes(kind):
    error = kind(Path("a/b.nii"), found="this", expected="that", remedy="do so")
    lines = str(error).splitlines()
    assert lines == ["a/b.nii", "  found:    this", "  expected: that", "  remedy:   do so"]
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind
    assert isinstance(again, StrokelabError)
    assert (str(again), again.where, again.found, again.expected, again.remedy) == (
        str(error), "a/b.nii", "this", "that", "do so")  # fmt: skip


def test_warnings_are_shown_without_our_source(monkeypatch):
    monkeypatch.setattr(warnings, "formatwarning", warnings.formatwarning)  # put back afterwards
    plain_warnings()
    plain_warnings()
    shown = warnings.formatwarning(DataWarning("a.nii: 3 voxels"), DataWarning, __file__, 3)
    assert shown == "Warning: a.nii: 3 voxels\n"
    assert __file__ in warnings.formatwarning(UserWarning("other"), UserWarning, __file__, 3)


class TestPrediction:
    GRID = Grid.of((3, 2, 2), np.diag([2.0, 2, 2, 1]))
    MASK = np.eye(3, 2, dtype=np.uint8)[:, :, None].repeat(2, axis=2)

    def prediction(self, probability=True):
        maps = self.MASK * np.float32(0.75) if probability else None
        return Prediction("a", self.GRID, self.MASK, maps, {"run": "x" * 500})

    def test_saves_itself(self, tmp_path):
        path = self.prediction().save(tmp_path / "new" / "m.nii.gz", probability=str(tmp_path / "p.nii"))
        image = nib.load(path)
        assert (image.get_fdata() == self.MASK).all()
        assert (image.affine == self.GRID.matrix).all()
        assert nib.load(tmp_path / "p.nii").get_fdata().max() == 0.75

    @pytest.mark.parametrize(
        ("name", "maps", "word"),
        [("there.nii", {}, "lies there"), ("m.png", {}, "png"), ("m.nii", {"probability": "m.nii"}, "named twice")],
    )
    def test_what_it_does_not_write(self, tmp_path, name, maps, word):
        (tmp_path / "there.nii").write_text("mine")
        given = {key: tmp_path / value for key, value in maps.items()}
        with pytest.raises(DataError, match=word):
            self.prediction().save(tmp_path / name, **given)
        assert [(file.name, file.read_text()) for file in tmp_path.iterdir()] == [("there.nii", "mine")]
        self.prediction().save(tmp_path / "there.nii", overwrite=True)
        with pytest.raises(DataError, match="no probability"):
            self.prediction(probability=False).save(tmp_path / "q.nii", probability=tmp_path / "p.nii")

    def test_is_shown_in_a_line(self):
        assert repr(self.prediction()) == "Prediction('a', 3 x 2 x 2, 0.03 ml, mask + probability)"
        assert repr(case("a")) == "Case('a', folder, T1w + FLAIR, no label)"
