"""A cohort with synthetic images beside it, small enough for tests: heads and cases of 8 mm."""

from strokelab.data.datamodule import CohortDataModule
from strokelab.data.sources import Training
from strokelab.data.splits import HoldOut
from strokelab.data.synthetic import SyntheticSource
from strokelab.inference.slices import SliceWindows
from strokelab.preparation.recipe import Preparation
from strokelab.sampling.alternate import Alternate
from strokelab.sampling.crops import Crops
from strokelab.sampling.slices import Slices
from strokelab.synthesis.fractions import TISSUES
from strokelab.view import View

CLASSES = ("background", *TISSUES, "lesion")


def volumes(modalities=("T1w",), size=(16, 16, 16), *, normalize="zscore_volume", **settings):
    """Crops."""
    return View(Preparation(modalities, normalize=normalize), Crops(size), windows=None, **settings)


def slices(modalities=("T1w",), **settings):
    """Whole slices of 32 rows and 28 columns."""
    preparation = Preparation(modalities, crop=(28, 32, None))
    return View(preparation, Slices(min_brain_pixels=40), SliceWindows(min_brain_pixels=40), **settings)


def cohort(root, view, *, source=None, dataset="atlas_v1", mixing=None, fraction=0.25, **settings):
    """A datamodule of few cases, a quarter of which test and a quarter of the others validate."""
    return CohortDataModule(
        dataset,
        root,
        view.preparation.modalities,
        view,
        HoldOut(test_fraction=0.25, val_fraction=fraction),
        sources={"synthetic": SyntheticSource() if source is None else source},
        mixing=mixing or Alternate((1, 1), first="synthetic"),
        progress=False,
        **{"batch_size": 2} | settings,
    )


def made(data, part="train", length=None):
    """The synthetic samples of a datamodule."""
    training: Training = data.training
    means = data._means
    size = (*view_size(data.view),)
    return training.makers["synthetic"].made(training.wanted("synthetic", part, means), size, length=length)


def view_size(view):
    """Voxels of a sample along x, y, z."""
    shape = view.input_shape
    return (shape[1], shape[0], 1) if len(shape) == 2 else shape
