"""``strokelab self-train`` as users start it: killed while it draws masks, it goes on; students owe teachers masks."""

from pathlib import Path

import pandas as pd
import pytest
import torch

from strokelab import runs
from strokelab.data.split_file import Split

pytestmark = pytest.mark.slow

OUT = "loop"
TINY = [
    "experiment=mapping_small",
    *("data.spacing=8", "data.sites=2", "data.cases_per_site=4", "data.batch_size=2", "data.prepare_workers=1"),
    *("data.layout_options.testing=2", "data.layout_options.smallest_mm3=2000"),
    *("view.sampler.patch=[16,16,16]", "view.windows.patch=[16,16,16]", "view.windows.mirror=none", "augment=none"),
    *("view.sampler.iterations_per_epoch=2", "view.sampler.validation_iterations=1", "planner.width=4"),
    *("trainer.max_epochs=1", "trainer.precision=32-true", "allocator=default", "split.folds=2"),
]


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return torch.load(folder / "checkpoints/last.ckpt", weights_only=True)["state_dict"]


@pytest.fixture(scope="module")
def loop(doors, tmp_path_factory) -> tuple[Path, list[str]]:
    """The folder of a loop that was killed at its second mask and then ended; what its two starts said."""
    here = tmp_path_factory.mktemp("self-training")
    for fold in range(2):  # as the loop would, without seconds of imports
        asked = [f"split.fold={fold}", "model=nnunet", "sweep=mapping_schemes", "hydra.mode=RUN", "resume=auto"]
        doors.train(*TINY, *asked, f"hydra.run.dir={here / OUT / f'nnunet-fold{fold}-seed0'}", cwd=here).check()
    command = ["self-train", *TINY, "--schemes", "nnunet", "--out", OUT]
    killed = doors.start(
        "strokelab", *command, cwd=here, kill_at=("strokelab.self_training.labelling.write_volume", 2)
    ).wait()
    assert killed.status == -9, killed.output
    masks = sorted((here / OUT / "pseudo_labels").rglob("*.nii.gz"))
    assert len(masks) == 1
    return here, [killed.output, doors.strokelab(*command, cwd=here).check().output, str(masks[0].stat().st_mtime_ns)]


def test_it_goes_on_where_it_was_killed(loop):
    here, (killed, resumed, _) = loop
    assert "nnunet-fold0-seed0: started" not in killed + resumed  # finished before, trained once
    assert "2 unlabelled cases beside 8 labelled" in resumed
    assert "4 of 4 members finished" in resumed
    assert "evaluate ensemble=mapping sweep=" in resumed
    table = pd.read_csv(here / OUT / "pseudo_labels/labels.csv")
    assert table["fold"].value_counts().to_dict() == {"fold0": 2, "fold1": 2, "all": 2}
    folds = pd.read_csv(here / OUT / "folds.csv")
    assert folds["Fold"].value_counts().to_dict() == {0: 4, 1: 4}


def test_pseudo_labelled_cases_train_in_every_fold_and_test_in_none(loop):
    here, _ = loop
    pseudo = set(pd.read_csv(here / OUT / "pseudo_labels/labels.csv")["case_id"])
    tested: list[str] = []
    for fold in range(2):
        teacher, student = (Split.read(here / OUT / f"{name}-fold{fold}-seed0/split.csv") for name in MODELS)
        assert set(student.train) == set(teacher.train) | pseudo
        assert (student.val, student.test) == (teacher.val, teacher.test)
        tested += student.test
        cohort = runs.read_settings(here / OUT / f"nnunet_selftraining-fold{fold}-seed0")["cohort"]
        # By the one model that has seen none of the test cases.
        assert cohort["pseudo_labels"]["teachers"] == [f"nnunet-fold{fold}-seed0"]
    assert len(tested) == len(set(tested)) == 8
    assert pseudo.isdisjoint(tested)


MODELS = ("nnunet", "nnunet_selftraining")


def test_students_start_from_fresh_weights(loop, doors):
    """Trained where there is no teacher, on the masks alone, a student is the same to the last bit."""
    here, _ = loop
    labels = here / OUT / "pseudo_labels"
    asked = ["model=nnunet_selftraining", f"data.pseudo.root={labels}", "score_test=false", "run_dir=alone"]
    doors.train(*TINY, *asked, cwd=here).check()
    alone, student, teacher = (
        weights(here / name)
        for name in ("alone", f"{OUT}/nnunet_selftraining-fold0-seed0", f"{OUT}/nnunet-fold0-seed0")
    )
    assert all(torch.equal(alone[name], student[name]) for name in student)
    assert any(not torch.equal(teacher[name], student[name]) for name in student)


def test_another_folds_student_is_refused_these_masks(loop, doors):
    """A split by another seed tests on cases that every teacher has seen."""
    here, _ = loop
    asked = ["model=nnunet_selftraining", f"data.pseudo.root={here / OUT / 'pseudo_labels'}", "run_dir=other"]
    done = doors.train(*TINY, *asked, "split.seed=7", cwd=here)
    assert done.status == 1
    assert "masks by models that have seen none of them" in done.output
    assert not (here / "other").exists()
