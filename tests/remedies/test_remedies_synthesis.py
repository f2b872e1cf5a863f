"""Remedies about synthetic images and the turns of sources."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from doing import executes, mended, said, settings, told

from strokelab.configuration import build
from strokelab.configuration.fit import check_fit
from strokelab.contract import Case
from strokelab.data.making import Means, Wanted
from strokelab.data.synthetic import SyntheticSource, check_held_out
from strokelab.preparation.recipe import Preparation
from strokelab.sampling.alternate import Alternate, Ordered
from strokelab.sampling.order import InOrder
from strokelab.synthesis.tissues import TissueMaps

OF_ANY = ["synthesis=synthstroke", "data=isles2015_siss"]


@executes("strokelab/data/synthetic.py:check_view")
@pytest.mark.parametrize("chosen", ["view.preparation.mirror.enabled=false", "synthesis=none"])
def test_channels_that_are_made_of_real_images(chosen):
    mended(check_fit, ["model=sunet", *OF_ANY], chosen)


@executes("strokelab/data/synthetic.py:check_view")
def test_axes_and_voxels_of_a_view():
    for wrong in ("+view.preparation.orientation=file", "view.preparation.spacing=[1,1,3]"):
        asked = ["model=resunet3d", *OF_ANY]
        word, _ = told(said(check_fit, settings(*asked, wrong)).remedy)
        check_fit(settings(*asked, wrong.partition("=")[0] + "=" + word.partition("=")[2]))


@executes("strokelab/data/synthetic.py:check_view")
@pytest.mark.parametrize("chosen", ["view=sgnet", "synthesis=none"])
def test_synthetic_images_have_no_neighbours(chosen):
    mended(check_fit, ["model=unet2d", "view=slab", "synthesis=synthstroke"], chosen)


@executes("strokelab/configuration/fit.py:_check_made")
@pytest.mark.parametrize("chosen", ["loss=dice_ce", "view.classes=null"])
def test_a_loss_that_compares_all_classes(chosen):
    asked = ["model=resunet3d", *OF_ANY, "loss=none", "+model.loss._target_=torch.nn.CrossEntropyLoss"]
    asked += ["+view.classes=[background,WM,lesion]", "model.network.out_channels=3", "model.lesion_channel=2"]
    error = said(check_fit, settings(*asked))
    assert chosen in told(error.remedy)
    asked = [item for item in asked if chosen == "view.classes=null" or "loss" not in item.partition("=")[0].split(".")]
    asked = [item for item in asked if chosen == "loss=dice_ce" or "classes" not in item]
    check_fit(settings(*asked, *([chosen] if chosen.startswith("loss") else [])))


TWO = ["view.classes=[background,lesion]", "model.network.out_channels=2", "model.lesion_channel=1"]


@executes("strokelab/configuration/fit.py:_check_made")
@pytest.mark.parametrize("chosen", [["synthesis=synthstroke"], TWO])
def test_tissues_that_no_image_is_labelled_with(chosen):
    asked = ["model=synthstroke", "data=atlas_v2", "synthesis=none"]
    assert {*chosen} <= {*told(said(check_fit, settings(*asked)).remedy)}
    check_fit(settings(*asked, *chosen))


@executes("strokelab/configuration/fit.py:_check_sources")
def test_settings_that_the_chosen_synthesis_leaves_without_a_class():
    asked = ["experiment=synthstroke_small", "synthesis=none", *TWO]
    for name in ("data.sources.synthetic", "data.mixing"):
        (word,) = told(said(check_fit, settings(*asked)).remedy)
        assert word == f"{name}=null"
        asked.append(word)
    check_fit(settings(*asked))


@executes("strokelab/sampling/alternate.py:__post_init__", "strokelab/sampling/alternate.py:over")
def test_epochs_of_made_samples():
    asked = ["synthesis=synthstroke", "data.mixing.ratio=[0,1]"]
    streams = [Ordered(6, InOrder(), name="cohort"), Ordered(None, InOrder(), name="synthetic")]

    def check(found):
        build(found["data"]["mixing"]).over(streams, 2)

    mended(check, asked)
    mended(check, [*asked, "data.mixing.steps=0"], "data.mixing.steps=500")
    assert len(Alternate((0, 1), steps=500).over(streams, 2)) == 1000


@executes("strokelab/data/synthetic.py:_heads")
def test_cases_of_thick_slices(monkeypatch):
    monkeypatch.setattr(TissueMaps, "anatomies", lambda self, *a, **k: self.spacing)
    stored = [SimpleNamespace(grid=SimpleNamespace(spacing=(1.0, 1.0, 5.0)))]
    view = SimpleNamespace(preparation=Preparation(("T1w",)))
    case = Case("a", "a", "atlas_v1", None, {})
    wanted = Wanted("train", [case], (), Means(view, {"a": case}, lambda *_: stored, None, 0), 0)
    source = SyntheticSource()
    word, _ = told(said(source._heads, wanted).remedy)
    spacing = settings("model=resunet3d", word)["view"]["preparation"]["spacing"]
    seen = SimpleNamespace(preparation=Preparation(("T1w",), spacing=spacing))
    assert source._heads(replace(wanted, means=replace(wanted.means, view=seen))) == 1


@executes("strokelab/data/synthetic.py:check_held_out")
def test_lesions_that_are_held_out():
    aside, other = Case("a b", "a", "atlas_v1", None, {}), Case("c", "c", "atlas_v1", None, {})
    (word,) = told(said(check_held_out, [aside, other], [aside]).remedy)
    assert settings("synthesis=synthstroke", word)["data"]["sources"]["synthetic"]["lesions"]["exclude"] == ["a b"]
    check_held_out([other], [aside])
