"""The Segmenter: order of parts, gradients, predictions, what it logs, and what its checkpoint holds."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import lightning as L
import pytest
import torch
from lightning.pytorch.loggers import Logger
from torch import nn
from torchmetrics import Metric

from strokelab.callbacks.site_adversary import SiteAdversarySchedule
from strokelab.errors import ConfigError
from strokelab.losses.dice import DiceLoss
from strokelab.metrics.validation import Validated
from strokelab.models.adversary import SiteAdversary
from strokelab.models.segmenter import Segmenter, evaluation_mode
from strokelab.networks.hemispheres import Hemispheres
from strokelab.networks.masked_adain import MaskedAdaIN
from strokelab.networks.unet import UNet

PLANE = (16, 24)
SITES = 3


def build(main=True, halves=True, adversary=True, *, channels=1, seed=0, network=None, **settings) -> Segmenter:
    torch.manual_seed(seed)
    return Segmenter(
        network or UNet(channels, base=4, depth=3),
        DiceLoss(),
        partial(torch.optim.SGD, lr=0.05, momentum=0.9),
        partial(torch.optim.lr_scheduler.ExponentialLR, gamma=0.96),
        standardizer=MaskedAdaIN(channels, PLANE, bn_momentum=None, patch=8) if main else None,
        hemispheres=Hemispheres() if halves else None,
        adversary=partial(SiteAdversary, n_sites=SITES) if adversary else None,
        **settings,
    )


def batch_of(size=6, *, channels=1, seed=0, plane=PLANE) -> dict[str, object]:
    generator = torch.Generator().manual_seed(seed)
    image = torch.randn(size, channels, *plane, generator=generator)
    brain = torch.zeros(size, 1, *plane, dtype=torch.uint8)
    brain[:, :, 2:-2, 4:-4] = 1
    return {
        "image": image,
        "lesion": ((image[:, :1] > 1) & (brain != 0)).to(torch.uint8),
        "brain": brain,
        "site": torch.randint(0, SITES, (size,), generator=generator),
        "case_id": [f"case{i}" for i in range(size)],
        "origin": torch.zeros(size, 3, dtype=torch.int64),
    }


class Batches:
    """A loader of ready batches that can leave out those an interrupted epoch has seen."""

    def __init__(self, count: int, skip: int = 0) -> None:
        self.count, self.skip = count, skip

    def __len__(self) -> int:
        return self.count

    def __iter__(self):
        skip, self.skip = self.skip, 0
        yield from (batch_of(seed=i) for i in range(skip, self.count))


class Memory(Logger):
    """Keeps everything that was logged."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: list[tuple[int, dict[str, float]]] = []

    name = "memory"
    version = 0

    def log_metrics(self, metrics, step=None):
        self.rows.append((step, dict(metrics)))

    def log_hyperparams(self, *args, **kwargs):
        pass

    def by_epoch(self, prefixes=("train/loss", "train/seg", "main/", "site/", "val/")) -> dict[float, dict[str, float]]:
        epochs: dict[float, dict[str, float]] = {}
        for _, row in self.rows:
            kept = {k: v for k, v in row.items() if k.startswith(prefixes) and k != "train/loss_step"}
            if kept:
                epochs.setdefault(row["epoch"], {}).update(kept)
        return epochs


def trainer_with(folder: Path, epochs: int, *, callbacks=(), **kwargs) -> tuple[L.Trainer, Memory]:
    memory = Memory()
    trainer = L.Trainer(
        max_epochs=epochs,
        accelerator="cpu",
        logger=memory,
        default_root_dir=folder,
        callbacks=[SiteAdversarySchedule(), *callbacks],
        enable_progress_bar=False,
        enable_model_summary=False,
        enable_checkpointing=False,
        use_distributed_sampler=False,
        num_sanity_val_steps=0,
        **kwargs,
    )
    return trainer, memory


pytestmark = pytest.mark.filterwarnings("ignore:.*self.trainer.*", "ignore:.*log_every_n_steps.*", "ignore:.*overlap.*")


def test_whole_slices_are_standardised_before_they_are_split():
    model = build()
    batch = batch_of(2)
    halves = model.condition(batch)
    assert halves["image"].shape == (4, 1, 16, 12)
    assert model.standardizer.gamma.shape == (2, 1)  # one scale per slice, common to both halves
    whole = model.standardizer(batch["image"], batch["brain"])
    assert torch.allclose(model.hemispheres.join(halves["image"]), whole, atol=1e-6)


def test_prediction_is_the_composition_of_the_parts_in_evaluation_mode():
    model = build()
    batch = batch_of()
    for _ in range(3):
        model.training_step(batch, 0)
    predicted = model.predict_scores(batch["image"], batch["brain"])
    assert model.training
    assert all(part.training for part in model.modules())
    model.eval()
    with torch.no_grad():
        image = model.standardizer(batch["image"], batch["brain"])
        left = model.network(image[..., :12]).sigmoid()
        right = model.network(image[..., 12:].flip(3)).sigmoid().flip(3)
    assert torch.equal(predicted, torch.cat([left, right], dim=3))
    assert predicted.shape == (6, 1, 16, 24)
    assert predicted.dtype == torch.float32


@pytest.mark.parametrize("parts", [(True, True, True), (False, False, False)])
def test_prediction_is_the_same_in_any_batch_and_order_and_under_inference_mode(parts):
    model = build(*parts)
    batch = batch_of(7)
    image, brain = batch["image"], batch["brain"]
    model.training_step(batch, 0)
    together = model.predict_scores(image, brain)
    with torch.inference_mode():
        alone = torch.cat([model.predict_scores(image[i : i + 1], brain[i : i + 1]) for i in range(7)])
        backwards = model.predict_scores(image.flip(0), brain.flip(0)).flip(0)
    assert torch.allclose(together, alone, atol=1e-6)
    assert torch.allclose(together, backwards, atol=1e-6)


def test_an_empty_slice_gives_numbers():
    model = build()
    model.training_step(batch_of(), 0)
    scores = model.predict_scores(torch.zeros(1, 1, *PLANE), torch.zeros(1, 1, *PLANE, dtype=torch.uint8))
    assert scores.isfinite().all()


def test_several_maps_are_probabilities_that_sum_to_one():
    scores = build(False, False, False, network=UNet(1, 3, base=4, depth=2)).predict_scores(
        torch.randn(2, 1, *PLANE), torch.ones(2, 1, *PLANE)
    )
    assert torch.allclose(scores.sum(dim=1), torch.ones(2, *PLANE))


def test_masking_the_input_is_an_option():
    batch = batch_of()
    assert torch.equal(build(False, False, False).condition(batch)["image"], batch["image"])
    masked = build(False, False, False, mask_input=True).condition(batch)["image"]
    assert torch.equal(masked, batch["image"] * batch["brain"])


@pytest.mark.parametrize("main", [True, False])
def test_one_backward_pass_gives_the_gradients_of_the_paper(main):
    strength = 0.7
    batch = batch_of()
    batch["image"] = batch["image"].double()

    def gradients(dice: float, site: float, reversal: float) -> dict[str, torch.Tensor]:
        model = build(main=main).double()
        model.adversary.strength = reversal
        outputs = model.training_step(batch, 0)
        (dice * (outputs["loss"] - outputs["site_loss"]) + site * outputs["site_loss"]).backward()
        return {n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in model.named_parameters()}

    both, dice_alone = gradients(1, 1, strength), gradients(1, 0, strength)
    site_alone = gradients(0, 1, -1.0)  # minus minus one: the plain gradient of the site loss
    for name, gradient in both.items():
        if name.startswith(("network.encoder", "standardizer")):
            assert torch.allclose(gradient, dice_alone[name] - strength * site_alone[name], atol=1e-14), name
        elif name.startswith("adversary"):
            assert torch.allclose(gradient, site_alone[name], atol=1e-14), name
        else:
            assert torch.allclose(gradient, dice_alone[name], atol=1e-14), name
            assert torch.count_nonzero(site_alone[name]) == 0
    assert any(site_alone[n].abs().sum() > 0 for n in both if n.startswith("network.encoder"))


class Plain(nn.Module):
    """A network that does not show its features."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Conv2d(1, 1, 3, padding=1)

    def forward(self, image):
        return self.layer(image)


def test_a_network_without_features_serves_all_but_the_adversary():
    model = build(True, True, False, network=Plain())
    model.training_step(batch_of(), 0)["loss"].backward()
    with pytest.raises(ConfigError, match="adversary=none"):
        build(network=Plain())


def test_a_batch_may_bring_its_own_target_and_known_channels():
    seen = {}

    class Spy(DiceLoss):
        def forward(self, logits, target, known=None):
            seen.update(target=target, known=known)
            return super().forward(logits, target, known)

    model = build(False, True, False)
    model.loss = Spy()
    target = torch.rand(6, 1, *PLANE)
    model.training_step({**batch_of(), "target": target, "labelled_classes": torch.ones(6, 1, dtype=torch.bool)}, 0)
    assert torch.equal(model.hemispheres.join(seen["target"]), target)
    assert seen["known"].shape == (12, 1)


def test_evaluation_mode_restores_every_part():
    model = build()
    model.network.encoder[0].eval()
    with evaluation_mode(model):
        assert not any(part.training for part in model.modules())
    assert model.training
    assert not any(part.training for part in model.network.encoder[0].modules())
    assert model.network.decoder[0].training


def test_volumes_train_and_predict():
    torch.manual_seed(0)
    model = Segmenter(
        UNet(2, base=4, depth=2, dimensions=3),
        DiceLoss(over="batch"),
        partial(torch.optim.SGD, lr=0.1),
        hemispheres=Hemispheres(),
        adversary=partial(SiteAdversary, n_sites=SITES),
    )
    batch = batch_of(3, channels=2, plane=(8, 12, 6))
    model.training_step(batch, 0)["loss"].backward()
    assert model.predict_scores(batch["image"], batch["brain"]).shape == (3, 1, 8, 12, 6)


def test_half_precision_trains():
    model = build()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        outputs = model.training_step(batch_of(), 0)
    assert outputs["loss"].dtype == torch.float32
    outputs["loss"].backward()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)


def test_a_fit_logs_the_agreed_names_and_values(tmp_path):
    trainer, memory = trainer_with(tmp_path, 2)
    model = build()
    trainer.fit(model, Batches(3), Batches(2))
    epochs = memory.by_epoch()
    assert list(epochs) == [0, 1]
    for row in epochs.values():
        assert set(row) == {
            *("train/loss", "train/segmentation_loss", "val/loss", "val/pooled_dice"),
            *("main/gamma_mean", "main/gamma_min", "main/beta_mean", "main/beta_min"),
            *("site/loss", "site/accuracy", "site/balanced_accuracy", "site/strength", "site/chance", "site/majority"),
        }
        assert row["train/loss"] == pytest.approx(row["train/segmentation_loss"] + row["site/loss"], abs=1e-5)
        assert 0 <= row["main/gamma_min"] <= row["main/gamma_mean"]
    assert model.optimizers().param_groups[0]["lr"] == pytest.approx(0.05 * 0.96**2)


def test_validation_pools_the_dice_of_its_masks(tmp_path):
    trainer, _ = trainer_with(tmp_path, 1)
    model = build()
    (result,) = trainer.validate(model, Batches(2), verbose=False)
    hits = sizes = 0
    for i in range(2):
        batch = batch_of(seed=i)
        found, lesion = model.predict_scores(batch["image"], batch["brain"]) >= 0.5, batch["lesion"] != 0
        hits, sizes = hits + (found & lesion).sum().item(), sizes + found.sum().item() + lesion.sum().item()
    assert result["val/pooled_dice"] == pytest.approx(2 * hits / sizes, abs=1e-6)


def test_validation_weighs_batches_by_their_samples(tmp_path):
    trainer, _ = trainer_with(tmp_path, 1)
    model = build()

    def loss(*sizes):
        batches = torch.utils.data.DataLoader([batch_of(size, seed=size) for size in sizes], batch_size=None)
        return trainer.validate(model, batches, verbose=False)[0]["val/loss"]

    assert loss(5) != pytest.approx(loss(2), abs=1e-4)
    assert loss(5, 2) == pytest.approx((5 * loss(5) + 2 * loss(2)) / 7)


class SaveAfter(L.Callback):
    """Saves once, in the middle of an epoch."""

    def __init__(self, path: Path, epoch: int, batch: int) -> None:
        self.path, self.epoch, self.batch = path, epoch, batch

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if (trainer.current_epoch, batch_idx) == (self.epoch, self.batch):
            trainer.save_checkpoint(self.path)


def test_checkpoint_holds_plain_data_and_an_interrupted_run_ends_and_logs_like_a_whole_one(tmp_path):
    path = tmp_path / "middle.ckpt"
    trainer, memory = trainer_with(tmp_path, 3, callbacks=[SaveAfter(path, epoch=1, batch=1)])
    whole = build()
    trainer.fit(whole, Batches(4), Batches(1))

    content = torch.load(path, weights_only=True)
    assert not content.get("hyper_parameters")
    assert all(torch.is_tensor(value) for value in content["state_dict"].values())

    resumed = build(seed=9)
    trainer, memory_resumed = trainer_with(tmp_path, 3)
    trainer.fit(resumed, Batches(4, skip=2), Batches(1), ckpt_path=path, weights_only=True)
    for (name, a), b in zip(whole.state_dict().items(), resumed.state_dict().values(), strict=True):
        assert torch.equal(a, b), name
    expected, found = memory.by_epoch(), memory_resumed.by_epoch()
    assert list(found) == [1, 2]
    for epoch, row in found.items():
        assert row == expected[epoch]


def test_two_fits_are_the_same_to_the_last_bit(tmp_path):
    states = []
    for _ in range(2):
        model = build()
        trainer_with(tmp_path, 1)[0].fit(model, Batches(3))
        states.append(model.state_dict())
    for name in states[0]:
        assert torch.equal(states[0][name], states[1][name]), name


def test_a_constant_rate_needs_no_scheduler():
    model = Segmenter(UNet(1, base=2, depth=1), DiceLoss(), partial(torch.optim.SGD, lr=0.1))
    assert isinstance(model.configure_optimizers(), torch.optim.SGD)


def test_short_runs_with_the_usual_statistics_are_warned_of(tmp_path):
    model = build(adversary=False)
    model.standardizer = MaskedAdaIN(1, PLANE, patch=8)
    with pytest.warns(UserWarning, match="bn_momentum=null"):
        trainer_with(tmp_path, 1)[0].fit(model, Batches(1))


class LesionShare(Metric):
    """Of whole samples, whatever a network looks at."""

    def __init__(self) -> None:
        super().__init__()
        self.add_state("shares", default=[], dist_reduce_fx="cat")

    def update(self, batch: Validated) -> None:
        assert batch.probability.shape == batch.logits.shape == batch.lesion.shape == (6, 1, *PLANE)
        assert torch.equal(batch.probability, batch.logits.sigmoid())
        self.shares.append(batch.lesion_probability.flatten(1).mean(dim=1))

    def compute(self):
        return torch.cat(self.shares).mean()


def test_validation_logs_every_metric_of_whole_samples(tmp_path):
    model = build(validation_metrics={"share": LesionShare(), "loss": None})
    model.curves = "curves_only"
    trainer, _ = trainer_with(tmp_path, 1)
    (result,) = trainer.validate(model, Batches(2), verbose=False)
    assert list(result) == ["curves_only/pooled_dice", "curves_only/share"]
    scores = torch.cat([model.predict_scores(b["image"], b["brain"]) for b in Batches(2)])
    assert result["curves_only/share"] == pytest.approx(scores.mean().item(), abs=1e-6)
    assert not [name for name in model.state_dict() if "metric" in name], "a checkpoint holds weights alone"


@pytest.mark.parametrize(
    ("scheduler", "interval"),
    [(torch.optim.lr_scheduler.ReduceLROnPlateau, "step"), (torch.optim.lr_scheduler.ConstantLR, "batch")],
)
def test_a_schedule_is_stepped_by_epochs_or_steps_and_waits_for_epochs_alone(scheduler, interval):
    network = UNet(1, base=2, depth=1)
    model = Segmenter(network, DiceLoss(), partial(torch.optim.SGD, lr=0.1), scheduler, scheduler_interval=interval)
    with pytest.raises(ConfigError) as refused:
        model.configure_optimizers()
    assert refused.value.where == "model.scheduler_interval"
