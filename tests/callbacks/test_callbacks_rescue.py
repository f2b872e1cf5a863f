"""A network that calls everything healthy for too long: warned of by default, begun anew on request."""

import warnings

import lightning as L
import pytest
import torch
from torch.utils.data import DataLoader

from strokelab.callbacks.rescue import Rescue
from strokelab.errors import ConfigError, DataWarning
from strokelab.losses.compound import DiceCELoss
from strokelab.models.segmenter import Segmenter
from strokelab.networks.nnunet import NNUNet
from strokelab.networks.unet import UNet

pytestmark = pytest.mark.filterwarnings("ignore:.*num_workers.*", "ignore:.*log.*")


def batch_of(lesion: bool) -> dict[str, object]:
    image = torch.zeros(1, 1, 4, 4)
    mask = torch.zeros(1, 1, 4, 4, dtype=torch.uint8)
    mask[..., :2, :2] = int(lesion)
    return {"image": image, "lesion": mask, "brain": torch.ones_like(mask), "site": torch.zeros(1, dtype=torch.int64)}


def dead(*, network=None, optimizer=torch.optim.SGD, **settings) -> Segmenter:
    """A model that finds nothing and does not learn: its head is healthy, its rate is 0."""
    torch.manual_seed(0)
    network = network or NNUNet(1, widths=[2, 2], kernels=[[3, 3]] * 2, strides=[[1, 1], [2, 2]], biases="all")
    if isinstance(network, NNUNet):
        with torch.no_grad():
            network.heads[-1].weight.zero_()
            network.heads[-1].bias.copy_(torch.tensor([1.0, -1.0]))
    return Segmenter(network, DiceCELoss(), lambda weights: optimizer(weights, lr=0.0, **settings), lesion_channel=1)


def fit(model, callback, folder, *, epochs=3, lesion=True, resume=None):
    trainer = L.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        callbacks=[callback],
        default_root_dir=folder,
    )
    batches = DataLoader([batch_of(lesion)], batch_size=None)
    trainer.fit(model, batches, batches, ckpt_path=resume, weights_only=True)
    return trainer


def test_a_warning_and_nothing_else(tmp_path):
    model = dead(momentum=0.99)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with pytest.warns(DataWarning, match="exactly 0 after 2 epochs"):
        trainer = fit(model, Rescue(after_epochs=2), tmp_path)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert trainer.optimizers[0].param_groups[0]["momentum"] == 0.99


def test_a_restart_draws_weights_and_lowers_the_momentum(tmp_path):
    model = dead(momentum=0.99)
    with pytest.warns(DataWarning, match="initialised anew"):
        trainer = fit(model, Rescue(after_epochs=2, restart=True, seed=3), tmp_path, epochs=2)
    assert trainer.optimizers[0].param_groups[0]["momentum"] == 0.95
    assert not trainer.optimizers[0].state
    twin = dead(momentum=0.99).network
    torch.manual_seed(3)
    twin.reset_parameters()
    assert all(torch.equal(value, twin.state_dict()[name]) for name, value in model.network.state_dict().items())


def test_it_looks_once_even_across_a_resume(tmp_path):
    model, callback = dead(momentum=0.99), Rescue(after_epochs=2)
    with pytest.warns(DataWarning):
        trainer = fit(model, callback, tmp_path, epochs=2)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataWarning)
        fit(dead(momentum=0.99), Rescue(after_epochs=2), tmp_path, epochs=4, resume=tmp_path / "last.ckpt")


@pytest.mark.parametrize(("after", "lesion"), [(9, True), (1, False)])
def test_silence_before_its_time_and_where_nothing_is_right(after, lesion, tmp_path):
    """Without a lesion to find, finding none is a Dice of 1."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", DataWarning)
        fit(dead(momentum=0.99), Rescue(after_epochs=after), tmp_path, lesion=lesion)


@pytest.mark.parametrize(
    "change", [{"optimizer": torch.optim.Adam}, {"network": UNet(1, 2, base=2, depth=2), "momentum": 0.9}]
)
def test_a_restart_that_cannot_be_made_is_refused_before_training(change, tmp_path):
    with pytest.raises(ConfigError, match=r"rescue\.restart"):
        fit(dead(**change), Rescue(restart=True), tmp_path)
