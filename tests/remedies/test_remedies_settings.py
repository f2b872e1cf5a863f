"""Remedies of settings that contradict each other: followed, they compose and the check passes."""

import shlex

import numpy as np
import pytest
import torch
from doing import executes, mended, quiet, said, settings, told, warned

from strokelab.configuration import bind, build, check_arguments, check_choices, check_fit, check_keys, plain
from strokelab.configuration.late_facts import DEFAULT_FACTS
from strokelab.configuration.overriding import override
from strokelab.contract import Case, LesionFile
from strokelab.errors import ConfigError
from strokelab.training.planning import placeholders

PATCHES = ["model=nnunet"]
CROPS = [*PATCHES, "view=resunet3d"]


@executes("strokelab/configuration/fit.py:check_fit", "strokelab/configuration/fit.py:_check_sites")
def test_parts_that_do_not_fit_are_switched_off():
    mended(check_fit, [*PATCHES, "standardizer=main"], "standardizer=none")
    mended(
        check_fit, ["data=folder", "data.modalities=[T1w]", "data.root=x", "+data.has_sites=false"], "adversary=none"
    )


@executes("strokelab/configuration/fit.py:_check_dimensions")
def test_slices_are_not_planned():
    remedy = said(check_fit, settings(*PATCHES, "view=sgnet")).remedy
    assert told(remedy) == ["view=nnunet", "planner=null"]
    check_fit(settings(*PATCHES, "view=nnunet"))


@executes("strokelab/configuration/fit.py:_check_midline")
def test_patches_that_are_halved():
    base = [*PATCHES, "hemispheres=split", "view.preparation.crop=[100,null,null]", "view.sampler.patch=[64,64,64]"]
    words = told(said(check_fit, settings(*base)).remedy)
    check_fit(settings(*base, *(word for word in words if word != "hemispheres=none")))
    check_fit(settings(*base, "hemispheres=none"))


@executes("strokelab/configuration/overriding.py:check_choices")
def test_rows_of_an_ablation():
    row = "ablation=da"
    error = said(check_choices, [row, "adversary=none"])
    assert error.remedy.startswith("leave adversary= out")
    check_choices([row])
    error = said(check_choices, [row, "model=unet2d"])
    name = error.remedy.rpartition("name its rows: ")[2].strip("'")
    check_choices([row, "model=unet2d", name])
    assert settings("ablation=sl", name)["name"] == "net-sl"
    words = told(said(check_choices, ["data=[atlas_v1,isles2022]"]).remedy)
    check_choices(words)
    assert settings(*words, "data.modalities=[T1w]")["data"]["datasets"] == ["atlas_v1", "isles2022"]


@executes("strokelab/configuration/composition.py:_resolved")
def test_values_that_are_wanted():
    from strokelab.configuration import compose

    base = ["data=folder", "data.root=x", "run_dir=run"]
    remedy = said(lambda: plain(compose("train", base))).remedy
    plain(compose("train", [*base, remedy.split()[1].replace("...", "[T1w]")]))


@executes("strokelab/configuration/late_facts.py:fill")
def test_facts_that_no_data_give():
    remedy = said(bind, {"model": {"network": {"width": "???"}}}, {}).remedy
    key = remedy.split()[1].removesuffix("=...")
    assert bind(override({"model": {"network": {"width": "???"}}}, [f"{key}=4"]), {})["model"]["network"]["width"] == 4


@executes("strokelab/configuration/building.py:build_model", "strokelab/configuration/composition.py:check_keys")
def test_names_that_are_alike():
    from strokelab.configuration import build_model

    assert said(build_model, "sgnett").remedy == "did you mean 'sgnet'?"
    build_model("sgnet")
    remedy = said(check_keys, {"sede": 1}, ("seed",), "config").remedy
    check_keys({remedy.split("'")[1]: 1}, ("seed",), "config")


@executes("strokelab/configuration/late_facts.py:_without_value")
def test_settings_without_a_value_are_planned():
    """All of them at once; the planner that the remedy names gives them."""
    asked = ["model=nnunet", "planner=null", "data.batch_size=2"]
    facts = {"in_channels": 1}

    def bound(one):
        return bind({"view": one["view"]}, facts | (placeholders(one) if one.get("planner") else {}))

    error = said(bound, settings(*asked))
    wanted = ("preparation.spacing", "preparation.normalize", "sampler.patch", "windows.patch", "augment.normalize")
    assert error.where.split(", ") == [f"view.{name}" for name in wanted]
    (word,) = (word for word in told(error.remedy) if "planner" in word)
    assert bound(settings(*asked, word))["view"]["sampler"]["patch"] == [128, 128, 128]
    assert all(f"view.{name}=..." in error.remedy for name in wanted)


@executes("strokelab/configuration/arguments.py:_unknown")
def test_settings_that_stood_there_for_another_class():
    """All of them are named at once, and the remedy replaces the section, as a shell gives it to Hydra."""
    base = ["model=nnunet", "view.sampler._target_=strokelab.sampling.slices.Slices"]
    error = said(check_arguments, {"view": settings(*base)["view"]})
    assert error.where == "view.sampler"
    assert all(f"{name}," in error.found for name in ("patch", "iterations_per_epoch", "foreground", "voxels_per_case"))
    words = shlex.split(error.remedy.partition(": add ")[2].partition(" to the command")[0])
    sampler = settings(*base, *words)["view"]["sampler"]
    assert sampler == {"_target_": "strokelab.sampling.slices.Slices"}
    check_arguments({"view": {"sampler": sampler}})
    kept = {"_target_": "strokelab.sampling.slices.Slices", "min_brain_pixels": 3, "a1": 1, "b1": 2}
    remedy = said(check_arguments, {"view": {"sampler": kept}}).remedy
    assert "'+view.sampler={_target_:strokelab.sampling.slices.Slices,min_brain_pixels:3}'" in remedy


@executes("strokelab/configuration/arguments.py:_unknown")
def test_arguments_that_are_alike():
    changed = {"trainer": {"_target_": "lightning.pytorch.Trainer", "max_epoch": 3}}
    key = said(check_arguments, changed).remedy.split()[-1].rstrip("?")
    check_arguments(override({"trainer": {"_target_": "lightning.pytorch.Trainer"}}, [f"{key}=3"]))


@executes("strokelab/configuration/overriding.py:parsed", "strokelab/configuration/overriding.py:_unknown")
def test_overrides_of_a_run_that_goes_on():
    run = {"name": "a", "trainer": {"_target_": "lightning.pytorch.Trainer", "max_epochs": 2}}
    (word,) = told(said(override, run, ["name=a=b"]).remedy)
    assert override(run, [word])["name"] == "a=b"
    key = said(override, run, ["trainer.max_epoch=3"]).remedy.split()[-1].rstrip("?")
    assert override(run, [f"{key}=3"])["trainer"]["max_epochs"] == 3
    assert "+key=value" in said(override, run, ["zzzzzz=3"]).remedy
    assert override(run, ["+zzzzzz=3"])["zzzzzz"] == 3


@executes("strokelab/configuration/allowlist.py:check_allow", "strokelab/configuration/allowlist.py:check_buildable")
def test_own_classes():
    from strokelab.configuration.allowlist import check_allow, check_buildable

    (word,) = told(said(check_allow, 3).remedy)
    assert check_allow(override({"allow": []}, [word])["allow"]) == ("my_package.",)
    run = {"model": {"_target_": "my_package.nets.Net"}}
    (word,) = told(said(check_buildable, run).remedy)
    check_buildable(run, allow=check_allow(override({"allow": []}, [word])["allow"]))


@executes("strokelab/configuration/untrusted_paths.py:check_places")
def test_places_and_teams_that_the_command_must_name(tmp_path):
    from strokelab.configuration.untrusted_paths import check_places

    run = {"logger": {"wandb": {"entity": "team", "save_dir": str(tmp_path)}}, "trainer": {}, "callbacks": {}}
    remedy = said(check_places, run, tmp_path).remedy
    key = remedy.split("add ")[1].split("=")[0]
    check_places(override(run, [f"{key}=mine"]), tmp_path, typed=[key])


@executes("strokelab/data/splits.py:_held_out", "strokelab/data/splits.py:__call__", "strokelab/data/splits.py:_finish")
@executes("strokelab/data/subjects.py:check_column")
def test_splits(tmp_path):
    masks = (LesionFile(tmp_path),)
    cases = [Case(str(n), str(n), "some", "A", {"T1w": tmp_path}, masks) for n in range(12)]

    def divide(settings):
        build(settings["split"])(cases, lambda: {case.case_id: 1.0 for case in cases})

    for choice in mended(divide, ["split=leave_one_site_out"], "split=kfold"):
        divide(settings(choice))
    mended(divide, ["split=holdout", "split.test_fraction=0"])
    mended(divide, ["split=holdout", "split.stratify=site"])
    mended(divide, ["split=all", "split.part=vla"])
    two = cases[:2]
    remedy = said(lambda: build(settings("split=kfold", "split.folds=2")["split"])(two)).remedy
    build(settings("split=kfold", "split.folds=2", *told(remedy))["split"])(two)


@executes("strokelab/data/cohort_checks.py:check_modalities", "strokelab/data/cohort_checks.py:check_site_count")
def test_cohorts(tmp_path):
    from strokelab.data.cohort_checks import check_modalities, check_site_count

    odd = Case("2,a b", "1", "some", "A", {"DWI": tmp_path / "x"})
    (word,) = told(said(check_modalities, [odd], ["T1w"]).remedy) or ["?"]
    assert settings(word)["data"]["exclude"] == ["2,a b"]
    words = told(warned(check_site_count, [odd], 3, tmp_path))
    quiet(check_site_count, [odd], settings("data=atlas_v1", "data.root=x", words[-1])["data"]["n_sites"], tmp_path)


@executes("strokelab/data/subjects.py:refuse_unlabelled", "strokelab/data/cohort_checks.py:existing_root")
def test_what_the_data_module_leaves_out(tmp_path):
    from strokelab.data.cohort_checks import existing_root
    from strokelab.data.subjects import refuse_unlabelled

    unlabelled = Case("1", "1", "some", "A", {"T1w": tmp_path})
    (word,) = told(said(refuse_unlabelled, [unlabelled]).remedy)
    for data in ("atlas_v1", "folder"):
        assert settings(f"data={data}", "data.root=x", "data.modalities=[T1w]", word)["data"]["labelled_only"] is True
    (word,) = told(said(existing_root, None, "atlas_v1").remedy)
    existing_root(settings("data=atlas_v1", word.replace("FOLDER", str(tmp_path)))["data"]["root"], "atlas_v1")


@executes("strokelab/data/pseudo.py:__post_init__")
def test_weights_of_pseudo_labels(tmp_path):
    def check(settings):
        node = settings["data"]["pseudo"]
        node and build(node)

    base = ["experiment=mapping_selftraining", "data.root=x", "data.pseudo.root=y", "data.pseudo.weight=0"]
    mended(check, base, "data.pseudo.weight=1")
    mended(check, base, "data.pseudo=null")


@executes("strokelab/inference/windows.py:check_settings", "strokelab/inference/flips.py:flips_of")
@pytest.mark.parametrize("wrong", ["patch=[0,1,1]", "step=0", "gaussian=-1", "batch_size=0", "mirror=abc"])
def test_windows_of_patches(wrong):
    base = [*PATCHES, "view.windows.patch=[32,32,32]", f"view.windows.{wrong}"]
    mended(lambda settings: build(settings["view"]["windows"]), base)


@pytest.mark.parametrize("wrong", ["patch=[0,1,1]", "step=[25,1,1]", "batch_size=0"])
def test_windows_of_dense_patches(wrong):
    mended(lambda settings: build(settings["view"]["windows"]), ["model=sunet", f"view.windows.{wrong}"])


@executes("strokelab/inference/dense_patches.py:_plan")
def test_too_many_dense_patches():
    brain = np.ones((104, 104, 104), bool)
    mended(
        lambda settings: build(settings["view"]["windows"]).count(brain), ["model=sunet", "view.windows.step=[1,1,1]"]
    )


@pytest.mark.parametrize("wrong", ["window=[0,1,1]", "region=half", "centre=head"])
def test_windows_in_the_middle(wrong):
    mended(lambda settings: build(settings["view"]["windows"]), [*CROPS, f"view.windows.{wrong}"])


@executes("strokelab/sampling/crops.py:__post_init__")
def test_validation_crops():
    mended(lambda settings: build(settings["view"]["sampler"]), [*CROPS, "view.sampler.validation=middle"])


@executes("strokelab/inference/slices.py:__post_init__")
@pytest.mark.parametrize("wrong", ["batch_size=0", "min_brain_pixels=-1", "target=-1"])
def test_windows_of_slices(wrong):
    mended(lambda settings: build(settings["view"]["windows"]), ["view=slab", f"view.windows.{wrong}"])


@executes("strokelab/sampling/slices.py:__post_init__", "strokelab/sampling/slices.py:check_slab")
@pytest.mark.parametrize(
    "wrong", ["++view.sampler.axis=7", "view.sampler.min_brain_pixels=-1", "view.sampler.slices=2"]
)
def test_samplers_of_slices(wrong):
    mended(lambda settings: build(settings["view"]["sampler"]), ["view=slab", wrong])


@executes("strokelab/inference/postprocess.py:small_components", "strokelab/inference/postprocess.py:_cut")
@pytest.mark.parametrize("wrong", ["neighbours=7", "threshold=2"])
def test_post_processing(wrong):
    volume = np.zeros((4, 4, 4), np.float32)
    base = ["postprocess=small_components", f"postprocess.{wrong}"]
    mended(lambda settings: build(settings["postprocess"])(volume), base)
    mended(lambda settings: build(settings["postprocess"])(volume), base, door="evaluate")


@executes("strokelab/losses/compound.py:_cross_entropy")
def test_losses_of_the_hardest_voxels():
    words = ["model.network.out_channels=2", "model.lesion_channel=1"]
    base = ["model=nnunet_topk", "model.network.out_channels=1", "model.lesion_channel=0"]
    loss = build(settings(*base)["model"]["loss"])
    assert told(said(loss, torch.zeros(1, 1, 4, 4), torch.zeros(1, 1, 4, 4)).remedy) == words
    changed = settings(*base, *words)["model"]
    target = torch.zeros(1, 2, 4, 4)
    build(changed["loss"])(torch.zeros(1, changed["network"]["out_channels"], 4, 4), target)


@executes("strokelab/networks/nnunet.py:_check_counts")
@pytest.mark.parametrize("name", ["blocks_encoder", "units_decoder"])
def test_counts_of_a_network(name):
    def check(settings):
        build(bind(settings["model"], DEFAULT_FACTS, at="model")["network"])

    mended(check, [*PATCHES, f"model.network.{name}=0"])


@executes("strokelab/networks/masked_adain.py:check_length")
def test_statistics_of_short_trainings():
    def check(settings):
        build(bind(settings["model"], DEFAULT_FACTS, at="model")["standardizer"]).check_length(5)

    word = told(warned(check, settings()))[-1]
    quiet(check, settings(word))


@executes("strokelab/sampling/order.py:__init__")
def test_a_sample_for_each_process():
    from strokelab.sampling.order import EpochBatchSampler

    words = told(said(EpochBatchSampler, 8, 1, 0, world_size=2).remedy)
    EpochBatchSampler(8, settings(*words)["data"]["batch_size"], 0, world_size=2)


@executes("strokelab/sampling/site_balanced.py:check_sites")
def test_orders_without_sites():
    def check(settings):
        check_arguments({"view": settings["view"]})
        build(settings["view"]["order"]).arrange(np.full(3, -1), np.random.default_rng(0))

    mended(check, ["experiment=sgnet_balanced"])


@executes("strokelab/training/precision.py:_on_cpu")
def test_bf16_where_it_fails(monkeypatch):
    from strokelab.training import precision

    monkeypatch.setattr(precision, "computed_wrongly", lambda: True)
    small = ["model=resunet3d", "model.network.in_channels=1", "model.network.base=4", "allocator=default"]
    mended(lambda each: precision.settle(each, (16, 16, 16)), [*small, "trainer.precision=bf16"])


@executes("strokelab/training/planning.py:check_batch", "strokelab/training/precision.py:check_precision")
def test_batches_and_precisions():
    from strokelab.training.planning import check_batch
    from strokelab.training.precision import check_precision

    remedy = said(check_batch, settings("data.batch_size=null")).remedy
    check_batch(settings(remedy.split()[1].replace("...", "4")))
    mended(check_precision, ["trainer.precision=16-mixed"], "trainer.precision=bf16-mixed")


@executes("strokelab/training/processes.py:check_shares")
def test_equal_shares():
    from strokelab.training.processes import check_shares

    (word,) = told(said(check_shares, 5, 2).remedy)
    check_shares(settings(word)["data"]["batch_size"], 2)


@executes("strokelab/training/start.py:check_settings")
def test_checkpoints_that_nothing_writes():
    from strokelab.training.start import check_settings

    mended(check_settings, ["checkpoint=snapshot"], "checkpoint=last")


@executes("strokelab/sweeps/search/settings.py:check_search", "strokelab/sweeps/search/space.py:space_of")
def test_searches():
    from omegaconf import OmegaConf

    from strokelab.sweeps.search.settings import SearchSettings, check_search
    from strokelab.sweeps.search.space import space_of

    def check(settings):
        check_search(OmegaConf.create(settings), SearchSettings(1, "maximize", "", "", {}, {}))

    mended(check, ["objective=val/pooled_dice", "split=all"], "split=holdout")
    word = said(space_of, {}, ["seed=1"]).remedy.split("'")[1]
    assert space_of({}, ["seed=1", word]).dimensions[0].key == "data.batch_size"


@executes("strokelab/sweeps/sharing.py:_whole")
def test_numbers_of_a_launcher():
    from strokelab.sweeps.sharing import _whole

    (word,) = told(said(_whole, "at_once", 0, least=1).remedy)
    key, _, value = word.partition("=")
    assert _whole(key.rpartition(".")[2], int(value), least=1) == 1


@executes("strokelab/evaluation/averaging.py:__post_init__")
@pytest.mark.parametrize("wrong", ["ensemble.weights=none", "ensemble.missing=none", "ensemble.rows=null"])
def test_ensembles(wrong):
    base = ["runs=[a]", *(["ensemble=mean", "~ensemble.rows", "+ensemble.rows={}"] if "rows" in wrong else [])]
    base = base if "rows" in wrong else ["runs=[a]", "ensemble=mean", wrong]
    remedy = said(lambda: build(settings(*base, door="evaluate")["ensemble"])).remedy
    build(settings("runs=[a]", "ensemble=mean", *told(remedy), door="evaluate")["ensemble"])


@executes("strokelab/inference/precision.py:settle")
def test_precisions_of_predictions():
    from strokelab.inference.precision import settle

    words = told(said(settle, "16", trained="32-true", device="cpu").remedy)
    asked = settings("runs=[a]", words[0], door="evaluate")["precision"]
    assert settle(asked, trained="32-true", device="cpu") == "bf16"


@executes("strokelab/metrics/profiles.py:find_profile")
def test_profiles():
    from strokelab.metrics.profiles import find_profile

    words = told(said(find_profile, "defualt").remedy)
    assert find_profile(settings("runs=[a]", words[0], door="evaluate")["profile"]).name == "default"


def test_a_row_needs_an_error():
    with pytest.raises(pytest.fail.Exception):
        said(lambda: None)
    assert isinstance(said(check_keys, {"a": 1}, (), "x"), ConfigError)
