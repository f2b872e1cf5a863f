"""What the loop can be asked for, and what it refuses before anything is trained."""

import pytest

from strokelab.errors import ConfigError, DataError
from strokelab.self_training.settings import loop_of


@pytest.fixture
def labelled_only(t1_cohort) -> list[str]:
    return ["data=atlas_v1", f"data.root={t1_cohort}", "data.n_sites=3"]


def test_a_cohort_without_unlabelled_cases_is_refused(labelled_only, tmp_path):
    with pytest.raises(DataError, match="9 cases of atlas_v1, all of them with masks") as error:
        loop_of(labelled_only, tmp_path)
    assert "sweep=mapping_schemes" in str(error.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "own",
    ["model=unet2d", "split.fold=3", "+run_dir=x", "data.pseudo.root=x", "hydra.sweep.dir=x", "name=a", "sweep=seeds"],
)
def test_what_the_loop_chooses_itself_is_refused(own, labelled_only, tmp_path):
    with pytest.raises(ConfigError, match="the loop chooses models, folds and folders"):
        loop_of([*labelled_only, own], tmp_path)


def test_a_split_without_folds_and_unknown_schemes_are_refused(labelled_only, tmp_path):
    with pytest.raises(ConfigError, match="a cross-validation with two folds or more"):
        loop_of([*labelled_only, "split=holdout"], tmp_path)
    with pytest.raises(ConfigError, match="some of"):
        loop_of(labelled_only, tmp_path, schemes=["nnunet", "unet2d"])
    with pytest.raises(ConfigError, match="n_size"):
        loop_of([*labelled_only, "data.n_size=3"], tmp_path)


def test_the_users_own_configs_count(t1_cohort, tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data/mine.yaml").write_text(
        f"_target_: strokelab.data.datamodule.ATLASv1\nroot: {t1_cohort}\nmodalities: [T1w]\nn_sites: 3\n"
    )
    for flags in (["--config-dir", str(tmp_path)], [f"--config-dir={tmp_path}"]):
        with pytest.raises(DataError, match="9 cases of atlas_v1"):
            loop_of([*flags, "data=mine"], tmp_path)
