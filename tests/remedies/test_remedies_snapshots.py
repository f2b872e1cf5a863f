"""Remedies of snapshots and of schedules with cycles."""

from doing import executes, mended, said, settings, told

from strokelab.configuration import build

SNAPSHOTS = "+callbacks.snapshots._target_=strokelab.callbacks.snapshots.Snapshots"
BASE = ["model=unet2d", SNAPSHOTS, "+callbacks.snapshots.folder=checkpoints"]


@executes("strokelab/callbacks/snapshots.py:__init__", "strokelab/callbacks/snapshots.py:check_schedule")
def test_when_a_snapshot_is_due():
    def built(chosen):
        return build(chosen["callbacks"]["snapshots"])

    both = [*BASE, "+callbacks.snapshots.every_n_epochs=2", "+callbacks.snapshots.epochs=[3]"]
    mended(built, both)
    for word in told(said(built(settings(*BASE)).check_schedule, None).remedy):
        built(settings(*BASE, word)).check_schedule(None)


@executes("strokelab/models/plateau.py:check_interval")
def test_a_schedule_that_counts_steps():
    from strokelab.configuration import bind

    facts = {"steps_per_epoch": 3, "in_channels": 1, "plane": (32, 32), "n_sites": 2}
    base = [
        *("model=unet2d", "~model.scheduler.gamma", "+model.scheduler.cycle_epochs=1"),
        *(
            "model.scheduler._target_=strokelab.models.warm_restarts.cosine_restarts",
            "+model.scheduler.steps_per_epoch='???'",
        ),
    ]
    mended(lambda chosen: build(bind(chosen["model"], facts, at="model")).configure_optimizers(), base)


@executes(
    "strokelab/runs/checkpoints.py:each_named",
    "strokelab/evaluation/own_means.py:__post_init__",
    "strokelab/evaluation/own_means.py:beside",
)
def test_rows_of_snapshots(trained_unet, tmp_path):
    from strokelab.evaluation.entries import entries_of
    from strokelab.runs import each_named, load_run

    word, callback = told(said(each_named, trained_unet, ["snapshots"]).remedy)
    load_run(trained_unet, checkpoint=settings("runs=[a]", word, door="evaluate")["checkpoint"])
    assert build(settings(callback)["callbacks"]["snapshots"]).epochs is None
    base = [f"runs=[{trained_unet}]", f"out={tmp_path}", "ensemble=snapshots"]
    alone = [*base, "ensemble.alone=true"]
    mended(
        lambda chosen: build(chosen["ensemble"]),
        ["runs=[a]", "ensemble=snapshots", "ensemble.rows=null"],
        door="evaluate",
    )

    def rows(chosen):
        return build(chosen["ensemble"]).beside(entries_of(chosen["runs"], [], chosen), chosen)

    found = mended(rows, alone, "ensemble.alone=false", door="evaluate")
    assert found


@executes("strokelab/training/start.py:check_settings")
def test_a_run_may_be_evaluated_by_its_averaged_weights():
    from strokelab.training.start import check_settings

    asked = ["model=unet2d", "checkpoint=ema"]
    assert "callback" in said(check_settings, settings(*asked)).remedy
    check_settings(settings(*asked, "+callbacks.ema._target_=strokelab.callbacks.averaged_weights.AveragedWeights"))
    for several in ("snapshots", "snapshot-0050"):  # chosen in an evaluation
        assert said(check_settings, settings("model=unet2d", f"checkpoint={several}")).where == "checkpoint"


@executes("strokelab/training/start.py:_check_callbacks")
def test_settings_of_a_callback_that_is_off():
    from strokelab.training.start import check_settings

    base = ["experiment=sgnet_small", "callbacks=none"]
    remedy = said(check_settings, settings(*base)).remedy
    check_settings(settings(*base, *(word for word in remedy.split() if word.startswith("~"))))
