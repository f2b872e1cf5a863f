"""Remedies of unlearning: heads on features that are there, and trainings that alternate."""

from functools import partial

import numpy as np
import torch
from doing import executes, said, settings, told

from strokelab.configuration import bind, build

FACTS = {"in_channels": 1, "n_sites": 2, "plane": (16, 16)}
SMALL = ["model.network.base=2", "model.network.depth=2"]


@executes("strokelab/models/unlearning.py:_known_plane", "strokelab/models/unlearning.py:_shown_channels")
@executes("strokelab/networks/domain_head.py:forward")
def test_heads_on_features_that_are_not_there():
    def model(*asked: str):
        return build(bind(settings("adversary=unlearning", *asked, *SMALL)["model"], FACTS, at="model"))

    decoder = ["model=unet2d", "model.adversary.where=decoder"]
    (word,) = (word for word in told(said(model, *decoder).remedy) if "where" in word)
    assert set(model(*decoder, word).adversary.heads) == {"bottleneck"}
    sizeless = ["model=unlearning", "model.adversary.plane=null"]
    (word,) = told(said(model, *sizeless).remedy)
    assert set(model(*sizeless, word).adversary.heads) == {"bottleneck"}
    other = torch.zeros(1, 1, 24, 24)
    remedy = said(
        model("model=unlearning").adversary.judge, model("model=unlearning").network, other, torch.zeros(1)
    ).remedy
    mended = model("model=unlearning", told(remedy)[-1])
    assert mended.adversary.judge(mended.network, torch.cat([other] * 2), torch.zeros(2, dtype=torch.int64))


def test_stratified_batches_without_sites():
    def arranged(*more: str):
        order = build(settings("model=unlearning", *more)["view"]["order"])
        return order.arrange(np.full(4, -1), np.random.default_rng(0))

    assert sorted(arranged(*told(said(arranged).remedy))) == [0, 1, 2, 3]


@executes("strokelab/training/alternating.py:check_alternating")
def test_trainings_that_alternate():
    from strokelab.training.alternating import check_alternating

    schedule = "{_target_:lightning.pytorch.callbacks.GradientAccumulationScheduler,scheduling:{1:2}}"
    for wrong in (
        "+trainer.gradient_clip_val=1",
        "+trainer.accumulate_grad_batches=2",
        "trainer.precision=16-mixed",
        f"+callbacks.more={schedule}",
    ):
        asked = partial(settings, "model=unlearning", wrong)
        set_it, without = told(said(lambda asked=asked: check_alternating(asked())).remedy)
        check_alternating(asked(set_it))
        check_alternating(asked(without))


@executes("strokelab/training/stages.py:check_kept")
def test_a_training_without_the_epochs_that_it_would_keep():
    from strokelab.training.stages import check_kept

    asked = partial(settings, "model=unlearning", "trainer.max_epochs=99")
    remedies = told(said(lambda: check_kept(asked())).remedy)
    assert remedies == ["checkpoint=last", "trainer.max_epochs=100"]
    for remedy in remedies:
        check_kept(asked(remedy))
    check_kept(asked("+stages={first: {}, second: {}}"))
