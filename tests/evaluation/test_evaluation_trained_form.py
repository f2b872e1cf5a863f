"""A dataset of a matrix as a run's own training looked at it: options, channels, and what the page then says."""

from dataclasses import replace

import pytest

from strokelab.data.splits import Split
from strokelab.evaluation.candidates import candidates_of
from strokelab.evaluation.datasets import datasets_of
from strokelab.evaluation.matrix import cells_of
from strokelab.evaluation.trained_form import trained_form


@pytest.fixture(scope="module")
def isles(isles_cohort):
    (found,) = datasets_of([f"isles2022={isles_cohort}"])
    return found


@pytest.fixture(scope="module")
def several(trained_unet, isles, t1_cohort):
    """Makes a run of two datasets, untrained: ISLES gives FLAIR for T1w, and its last two cases are held out."""
    (run,) = candidates_of([trained_unet], [], checkpoint=None, allow=[])
    about = {f"own_{case.case_id}": (f"own_{case.subject_id}", "") for case in isles.cases}
    ids = tuple(about)

    def make(*channels, any_contrast=False, root=None, **options):
        own = {"dataset": "isles2022", "root": str(root or isles.root), "options": options}
        datasets = {"atlas_v1": {"root": str(t1_cohort)}, "own": own | {"contrasts": {"T1w": "FLAIR"}}}
        cohort = {"dataset": "several", "root": str(t1_cohort), "phantom": True, "options": {"datasets": datasets}}
        return replace(
            run,
            settings={**run.settings, "cohort": cohort},
            split=Split(ids[:-2], (), ids[-2:], about),
            preparation=replace(run.preparation, modalities=channels),
            any_contrast=any_contrast,
        )

    return make


def test_channels_of_several_are_the_images_that_the_training_took(several, isles, tmp_path):
    held_out = [case.case_id for case in isles.cases[-2:]]
    (cell,) = cells_of([several("T1w", "DWI")], [isles])
    assert (cell.reason, cell.main, cell.notes) == ("", "FLAIR + DWI", [])
    assert [case.case_id for case in cell.cases] == held_out == sorted(cell.form.held_out)
    (alone,) = cells_of([several("T1w")], [isles])
    assert (alone.main, alone.contrasts) == ("FLAIR", ("DWI", "ADC", "FLAIR"))
    seen, case = alone.form.seen(alone.cases[0]), alone.cases[0]
    assert {*seen.images} == {"T1w", "DWI", "ADC"}
    assert (seen.images["T1w"], seen.reference_image) == (case.images["FLAIR"], case.reference_image)
    moved = trained_form(several("T1w", root=tmp_path), isles)
    assert moved.held_out == {*held_out}, "the same cases, which lay elsewhere in the training"
    unknown = replace(isles, cases=tuple(replace(case, case_id=f"x{case.case_id}") for case in isles.cases))
    assert trained_form(several("T1w"), unknown) is None


def test_options_of_the_training_hold_and_other_masks_are_said(several, isles):
    (cell,) = cells_of([several("T1w", values=[2])], [isles])
    assert {file.values for case in cell.cases for file in case.lesions} == {(2,)}
    assert f"on isles2022: {len(isles.cases)} masks are those of its training's own options" in cell.notes[0]
    (images,) = cells_of([several("DWI", modalities=["DWI"])], [isles])
    assert (images.contrasts, images.notes) == (("DWI", "ADC", "FLAIR"), []), "other images stay, for other rows"
    (damaged,) = cells_of([several("T1w", absent=1)], [isles])
    assert "cannot be read with the options of the run's training" in damaged.reason


def test_a_mean_over_more_than_was_trained_on_is_said(several, isles):
    (cell,) = cells_of([several("T1w", any_contrast=True)], [isles])
    assert cell.notes == [
        "unet2d on isles2022: the mean over DWI, ADC, FLAIR stands for the run; it was trained on FLAIR of them, and "
        "its own cases.csv is of FLAIR."
    ]
    assert not cells_of([several("T1w")], [isles])[0].notes
