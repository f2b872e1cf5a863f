"""MAPPING (Huo 2022), what must hold of its folds and of self-training: spec, section 12, points 6 and 10."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from strokelab.configuration import compose, plain
from strokelab.contract import Case, LesionFile
from strokelab.data.split_file import write_folds
from strokelab.data.splits import FromFile, SizeBalancedKFold
from strokelab.errors import DataError, DataWarning
from strokelab.self_training.settings import STUDENT
from strokelab.self_training.teachers import SCHEMES


def scans(count: int) -> list[Case]:
    """Scans named as those of ATLAS v2.0, one per person."""
    names = [f"sub-r{number // 50 + 1:03d}s{number % 50 + 1:03d}" for number in range(count)]
    return [
        Case(f"{name}_ses-1", name, "atlas_v2", name[4:8].upper(), {"T1w": Path(name)}, (LesionFile(Path(name)),))
        for name in names
    ]


def folds_of(cases: list[Case], volumes: dict[str, float], folds: int, seed: int = 0) -> dict[str, int]:
    rule = (SizeBalancedKFold(fold=k, folds=folds, val_fraction=0, seed=seed) for k in range(folds))
    return {case_id: k for k, split in enumerate(rule) for case_id in split(cases, lambda: volumes).test}


@settings(deadline=None, max_examples=60)
@given(
    volumes=st.lists(st.sampled_from([0.0, 0.0, 0.01, 1.0, 5.0, 5.0, 200.0]), min_size=5, max_size=60),
    seed=st.integers(0, 9),
)
def test_6_every_fold_holds_its_share_of_every_size(volumes, seed):
    """Section 3: with ties and empties, for every threshold less than one case off; order and repetition irrelevant."""
    cases = scans(len(volumes))
    ml = {case.case_id: volume for case, volume in zip(cases, volumes, strict=True)}
    fold_of = folds_of(cases, ml, 5, seed)
    assert fold_of == folds_of(cases[::-1], ml, 5, seed)
    for threshold in set(volumes):
        counts = np.bincount([fold_of[case] for case in ml if ml[case] <= threshold], minlength=5)
        assert np.abs(counts - counts.sum() / 5).max() < 1
    assert np.ptp(np.bincount(list(fold_of.values()), minlength=5)) <= 1


def test_6_the_published_list_is_read_and_written(tmp_path):
    """655 rows ``Name,Fold``, names of T1w files without extension, 131 in each fold; unknown names refused."""
    cases = scans(655)
    fold_of = folds_of(cases, {case.case_id: float(number) for number, case in enumerate(cases)}, 5)
    published = tmp_path / "fold_index.csv"
    write_folds(published, {f"{case}_space-MNI152NLin2009aSym_T1w": fold for case, fold in fold_of.items()})
    assert published.read_text().splitlines()[0] == "Name,Fold"
    for fold in range(5):
        split = FromFile(published, fold=fold, folds=5)(cases)
        assert len(split.test) == 131
        assert {fold_of[case_id] for case_id in split.test} == {fold}
        assert len(split.train) + len(split.val) == 524
    with pytest.warns(DataWarning, match=r"5 folds, but split\.folds says 10.*set split\.folds=5"):
        FromFile(published, folds=10)(cases)
    with pytest.raises(DataError, match="which no case is called"):
        FromFile(published)(cases[1:])


def test_the_schemes_differ_as_the_paper_says():
    """Section 4's table: network, loss, augmentation, epochs; and what brings the fourth its cases."""
    composed = {name: plain(compose("train", [f"model={name}", "data=atlas_v2"])) for name in (*SCHEMES, STUDENT)}
    of = {
        name: (
            node["model"]["network"]["residual"],
            node["model"]["loss"]["each"]["topk"],
            node["view"]["augment"]["elastic_p"] > 0,  # strong
            node["trainer"]["max_epochs"],
            node["data"]["pseudo"] is not None,
        )
        for name, node in composed.items()
    }
    assert of == {
        "nnunet": (False, None, False, 1000, False),
        "nnunet_topk": (False, 10, False, 800, False),
        "nnunet_residual": (True, None, True, 1000, False),
        "nnunet_selftraining": (False, None, False, 1000, True),
    }
    pseudo = composed[STUDENT]["data"]["pseudo"]
    assert (pseudo["weight"], pseudo["per_fold"]) == (1.0, True)
    assert composed[STUDENT]["model"] == composed["nnunet"]["model"]
    assert composed[STUDENT]["view"] == composed["nnunet"]["view"]
