"""Remedies of trainings in stages."""

from doing import executes, mended, said, settings, told

BASE = ["model=nnunet"]
STAGED = ["+stages.zoom_in.trainer.max_epochs=3", "+stages.zoom_out.trainer.max_epochs=2"]


@executes("strokelab/configuration/stages.py:check_stages", "strokelab/configuration/stages.py:_check_section")
def test_what_a_stage_may_change():
    from strokelab.configuration.stages import check_stages

    base = [*BASE, *STAGED]
    mended(check_stages, [*base, "+stages.zoom_out.init_weights=first"])
    for change in ("trainer.devices=2", "split.val_fraction=0.2"):
        remedy = said(check_stages, settings(*base, f"+stages.zoom_in.{change}")).remedy
        assert told(remedy) == ["init_weights=RUN"]
    assert "init_weights" in settings(*BASE)


@executes("strokelab/configuration/stages.py:check_heeded")
def test_a_setting_that_every_stage_changes():
    from omegaconf import OmegaConf

    from strokelab.configuration import compose
    from strokelab.configuration.stages import check_heeded

    raw = OmegaConf.to_container(compose("train", [*BASE, *STAGED, "trainer.max_epochs=9"]))
    (word,) = told(said(check_heeded, raw, ["trainer.max_epochs"]).remedy)
    changed = settings(*BASE, *STAGED, word.replace("...", "9"))
    assert changed["stages"]["zoom_in"]["trainer"]["max_epochs"] == 9


@executes("strokelab/training/stages.py:reached", "strokelab/training/stages.py:begin_next")
def test_stages_that_are_not_those_of_the_run(a_run):
    from strokelab.callbacks.stage import Stage
    from strokelab.training.stages import begin_next, reached

    last = a_run / "checkpoints/last.ckpt"
    remedy = said(reached, settings(*BASE, *STAGED), last).remedy
    assert told(remedy)[0].split("=")[0] == "init_weights"
    assert str(a_run) in told(remedy)[0]
    best = settings(*BASE, *STAGED, "+stages.zoom_out.init_weights=best")
    remedy = said(begin_next, a_run, best, Stage("zoom_out", 1), None, "data").remedy
    assert settings(*BASE, *STAGED, "+" + told(remedy)[0])["stages"]["zoom_out"] == {"init_weights": "last"}
