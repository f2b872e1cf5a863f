"""Settings under which a model trains in a second."""

from pathlib import Path

# MAIN's usual statistics need some 200 steps; without it these runs are too short to predict anything.
SHORT_MAIN = "model.standardizer.bn_momentum=null"


def tiny_settings(root: Path) -> list[str]:
    """For the cohort of nine scans at 8 mm that ``conftest.t1_cohort`` writes."""
    return [
        "data=atlas_v1",
        f"data.root={root}",
        "data.n_sites=3",
        "data.val_fraction=0.1",
        "data.batch_size=16",
        "data.prepare_workers=1",
        "view.preparation.crop=[24,28,null]",
        "view.preparation.offset=null",
        "view.sampler.min_brain_pixels=8",
        "model.network.base=4",
        "model.network.depth=3",
        "model.optimizer.lr=0.05",
        "model.loss.over=batch",
        "trainer.max_epochs=2",
        "trainer.log_every_n_steps=1",
        "callbacks.case_metrics.every_n_epochs=2",
    ]


def patch_settings(tiny: list[str]) -> list[str]:
    """The same for models of patches: their view and network instead of those of slices."""
    return [
        *(item for item in tiny if not item.startswith(("view.", "model."))),
        *("view.sampler.patch=[16,16,16]", "view.windows.patch=[16,16,16]", "view.windows.mirror=none"),
        *("view.sampler.iterations_per_epoch=2", "view.sampler.validation_iterations=1", "planner.width=4"),
        *("data.batch_size=2", "trainer.precision=32-true", "allocator=default"),
    ]


def trunk_settings(tiny: list[str]) -> list[str]:
    """The same for networks with a residual trunk: one block a layer, and sides that divide by 16."""
    return [
        *(item for item in tiny if not item.startswith(("view.preparation.crop", "model.network.depth"))),
        *("view.preparation.crop=[32,32,null]", "model.network.layers=[1,1,1,1]"),
    ]


def plan_of_slices(tiny: list[str]) -> list[str]:
    """The same for nnU-Net of slices."""
    return [
        *(item for item in tiny if not item.startswith(("model.", "callbacks."))),
        *("model.network.widths=[4,8]", "model.network.kernels=[[3,3],[3,3]]", "model.network.strides=[[1,1],[2,2]]"),
        *("view.sampler.iterations_per_epoch=2", "view.sampler.validation_iterations=1"),
        *("trainer.precision=32-true", "allocator=default"),
    ]


def balanced_settings(tiny: list[str]) -> list[str]:
    """The same for SUNet: a few balanced patches, and windows of a coarse step."""
    return [
        *(item for item in tiny if not item.startswith(("view.", "model.", "data.batch_size"))),
        *("view.sampler.patch=[8,8,8]", "view.sampler.per_case=16", "view.sampler.least_voxels=4"),
        *("view.sampler.step=[2,2,2]", "view.windows.step=[4,4,4]", "model.network.base=2", "model.network.depth=2"),
        *("data.batch_size=8", "checkpoint=last", "~callbacks.early_stopping", "allocator=default"),
    ]


def crop_settings(tiny: list[str]) -> list[str]:
    """The same for 3D ResU-Net: small crops, a window of about the volume, cycles of two epochs."""
    return [
        *(item for item in tiny if not item.startswith(("view.", "model.", "data.batch_size"))),
        *("view.preparation.spacing=null", "view.sampler.size=[16,16,16]", "view.windows.window=[20,24,20]"),
        *("model.network.base=4", "model.scheduler.cycle_epochs=2", "data.batch_size=2", "allocator=default"),
    ]


def any_contrast_settings(tiny: list[str]) -> list[str]:
    """The same for SynthStroke: small crops, a network of two strides, synthetic and real steps in turn."""
    return [
        *(item for item in tiny if not item.startswith(("view.", "model.", "data.batch_size"))),
        *("view.preparation.spacing=[8,8,8]", "view.sampler.size=[16,16,16]", "view.sampler.within=[32,32,32]"),
        *("model.network.channels=[4,8,8]", "model.network.strides=[2,2]", "view.windows.mirror=none"),
        *("data.mixing.steps=2", "data.batch_size=2", "checkpoint=last", "allocator=default"),
        *("trainer.precision=32-true", "trainer.check_val_every_n_epoch=1"),
    ]


def unlearning_settings(tiny: list[str]) -> list[str]:
    """The same for Dinsdale's unlearning: an epoch of stage 1, then visible rates; all epochs, the last weights."""
    rates = ("segment=0.01", "domain=0.01", "confuse=0.001")
    return [
        *(item for item in tiny if not item.startswith("model.loss.")),
        *("model.adversary.stage1_epochs=1", *(f"model.adversary.rates.{rate}" for rate in rates)),
        "checkpoint=last",
    ]
