"""A cohort as Lightning wants it: read, split, prepared, served; the named datasets are thin faces over one class."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

from lightning import LightningDataModule
from torch.utils.data import DataLoader

from strokelab import terminal
from strokelab.buildable import buildable
from strokelab.contract import HELD_OUT_SELECTS, Batch, Case
from strokelab.data.case_filter import CaseFilter
from strokelab.data.cohort_checks import check_channels, check_site_count, curve_cases, existing_root
from strokelab.data.description import described_use
from strokelab.data.making import Means
from strokelab.data.progress import progress_of
from strokelab.data.samples import completed
from strokelab.data.served import served
from strokelab.data.sources import Source, Training, training_samples, validation_samples
from strokelab.data.splits import Split
from strokelab.data.subjects import Volumes
from strokelab.data.volumes import lesion_volumes_ml
from strokelab.data.worker_count import Workers
from strokelab.errors import ConfigError, DataWarning
from strokelab.files import natural_key
from strokelab.phantoms.naming import RECORD, named_earlier
from strokelab.preparation.recipe import Preparation
from strokelab.preparation.store import PreparedStore, StoredCase, default_store
from strokelab.sampling.alternate import Alternate
from strokelab.view import View

Part = Literal["train", "val", "test", "curves"]
Root = str | Path | None
SplitRule = Callable[[Sequence[Case], Volumes | None], Split]


@buildable(training="data")
class CohortDataModule(LightningDataModule):
    """Any cohort a reader knows.

    A resumed run gets exactly the batches an unbroken one would have got: the order is a function of
    (seed, epoch, rank), and ``state_dict`` says which batches of the interrupted epoch were trained on.

    Args:
        dataset, root: a reader's name (``strokelab.data.readers``), and the dataset's folder.
        modalities: the channels, in order; those of ``view.preparation``.
        view: how the model sees a brain.
        split: ``(cases, volumes) -> Split``, see ``data.splits``; None: only the cases are asked for.
        options: the reader's own.
        exclude, labelled_only, only_sites, limit_per_site: which cases there are, see ``CaseFilter``.
        pseudo: masks by models for the unlabelled cases, which then train as well: a source; None = none do.
        sources: further sources of training samples, by name; None = none of this name.
        mixing: ``sampling.alternate.Alternate``, strictly in turn; None: one stream, cases sampled by weight.
        n_sites: sites the release has, for sweeps over them; a ``DataWarning`` says when the files hold others.
        store: folder of the prepared store; None: ``STROKELAB_STORE``, or ``~/.cache/strokelab/prepared``.
        batch_size: samples per step, over all processes of a training: each gets an equal share.
        workers, prepare_workers: loader processes (0, a number, "auto": ``worker_count``); those that prepare cases.
        drop_last: leave out a last step that is not full.
        val_fraction: what ``conf/split`` refers to: 0 where the cohort's papers set no validation part aside.
        curves, seed: whose curves there are (``cohort_checks.curve_cases``); of order, boxes and augmentation.
        progress: show bars while cases are prepared.
    """

    def __init__(
        self,
        dataset: str,
        root: str | Path | None,
        modalities: Sequence[str],
        view: View,
        split: SplitRule | None,
        *,
        options: Mapping[str, Any] | None = None,
        exclude: Sequence[str] = (),
        labelled_only: bool = False,
        only_sites: Sequence[str] | None = None,
        limit_per_site: int | None = None,
        pseudo: Source | None = None,
        sources: Mapping[str, Source | None] | None = None,
        mixing: Alternate | None = None,
        n_sites: int | None = None,
        store: str | Path | None = None,
        batch_size: int = 16,
        workers: Workers = 0,
        prepare_workers: int = 1,
        drop_last: bool = False,
        val_fraction: float | None = None,
        curves: str = "validation",
        seed: int = 0,
        progress: bool = True,
    ) -> None:
        super().__init__()
        self.dataset, self.root, self.modalities = dataset, root, tuple(modalities)
        chosen = (dict(options or {}), tuple(exclude), labelled_only, only_sites, limit_per_site)
        self.filter = CaseFilter(dataset, self.modalities, *chosen)
        self.view, self.split, self.curves, self.mixing = view, split, curves, mixing
        self.sources = {name: one for name, one in {**(sources or {}), "pseudo": pseudo}.items() if one}
        self.release_sites = n_sites if only_sites is None else len(only_sites)
        self.store = PreparedStore(default_store() if store is None else Path(store).expanduser())
        self.batch_size, self.workers, self.prepare_workers = batch_size, workers, prepare_workers
        self.drop_last, self.seed, self.progress, self._resumed = drop_last, seed, progress, (0, 0)
        self._stored = dict[tuple[Preparation, str, str], StoredCase | None]()  # None: left out
        check_channels(self.modalities, view.preparation.modalities)

    @cached_property
    def cases(self) -> list[Case]:
        """The cohort, without what was left out; read when first asked for.

        Raises:
            DataError: the folder is missing or holds no such dataset, a case is incomplete or lacks a modality.
            ConfigError: an unknown dataset, option or excluded id.
        """
        cases = self.filter.cases(root := self._root())
        check_site_count(cases, self.release_sites, root)
        return cases

    @cached_property
    def unlabelled(self) -> list[Case]:
        """The cases without a lesion mask, also where the release keeps them apart; see ``CaseFilter``."""
        return self.filter.unlabelled(self._root())

    @cached_property
    def lesion_volumes(self) -> dict[str, float]:
        """Lesion volume (ml) of every labelled case, on its own grid; read when first asked for."""
        return lesion_volumes_ml(self.cases, workers=self.prepare_workers)

    @cached_property
    def training(self) -> Training:
        """Who trains, of which source, in a split of all.

        Raises:
            DataError: the cohort does not allow this split, or the cases of a source do not fit.
            ConfigError: a setting of the split is out of range.
        """
        if self.split is None:
            remedy = "name one, e.g. split=leave_one_site_out"
            raise ConfigError("split", found="none", expected="a rule of conf/split", remedy=remedy)
        return Training.of(self.sources, lambda: self.unlabelled, self.split(self.cases, lambda: self.lesion_volumes))

    @property
    def split_result(self) -> Split:
        """Who trains, validates and tests; cases of all sources. Raises as ``training``."""
        return self.training.split

    @cached_property
    def sites(self) -> dict[str, int]:
        """Training site to index 0..K-1, in natural order; held-out and unknown sites are not in it."""
        names = {case.site for case in self._by_id.values() if case.case_id in self.split_result.train} - {None}
        return {name: index for index, name in enumerate(sorted(map(str, names), key=natural_key))}

    @property
    def n_sites(self) -> int:
        """K, the number of training sites."""
        return len(self.sites)

    def describe(self) -> dict[str, Any]:
        """The cohort as plain data: what ``read_cases`` needs to find it again, and how it was used."""
        training = None if self.split is None else self.training
        return {
            "dataset": self.dataset,
            "root": str(Path(self.root or "").expanduser().resolve()),
            "options": self.filter.reader_options,
            "label_modality": self.cases[0].label_modality,
            "phantom": isinstance(self, Phantom),  # as asked for: pictures of other folders are not shared unasked
            **described_use(self.cases, training, self.sites if training else {}),
        }

    def setup(self, stage: str | None = None) -> None:
        """Read, split and prepare everything, so that a DataError or ConfigError comes before training starts."""
        means = self._means
        self.training.sourced(means)
        means.prepared([*self.split_result.val, *self.split_result.test])
        self.training.check(means)

    def volumes(self, part: Part) -> list[StoredCase]:
        """The prepared cases of a part, or those that the curves are of, for whole-volume prediction."""
        return self._means.prepared(self._curve_cases if part == "curves" else getattr(self.split_result, part))

    def train_dataloader(self) -> DataLoader[Batch]:
        """Batches of the training cases, in the view's order, augmented."""
        return self._loader("train")

    def val_dataloader(self) -> DataLoader[Batch] | list[Any]:
        """Batches of the cases of the curves, always the same ones; an empty list where there are none."""
        if not self._curve_cases:
            warnings.filterwarnings("ignore", message=".*Total length of `list` across ranks is zero.*")  # it is meant
            return []
        return self._loader("val")

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Augmentation that waited for the device."""
        return completed(batch)

    @property
    def curves_only(self) -> bool:
        """Whether curves are of the test part, as nnU-Net's of the held-out fold: nothing may be chosen by them."""
        return bool(self._curve_cases) and not self.validates

    @property
    def validates(self) -> bool:
        """Whether something may be chosen by the curves: of a validation part, or where ``curves`` says so."""
        return bool(self.split_result.val) or self.curves == HELD_OUT_SELECTS

    @property
    def _curve_cases(self) -> Sequence[str]:
        return curve_cases(self.split_result, self.cases, self.curves)

    def state_dict(self) -> dict[str, int]:
        """How far training is: the epoch and the batches of it that are done, and how many processes did them."""
        return progress_of(self.trainer, self._resumed)

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Continue there. Before the loaders exist, since workers fetch ahead as soon as they do."""
        warnings.filterwarnings("ignore", message=".*your dataloader is not resumable.*")  # its state is here
        self._resumed = (int(state_dict["epoch"]), int(state_dict["batch"]))

    @property
    def _by_id(self) -> dict[str, Case]:
        further = [] if self.split is None else self.training.further
        return {case.case_id: case for case in (*self.cases, *further)}

    def _root(self) -> Path:
        return existing_root(self.root, self.dataset)

    @property
    def _means(self) -> Means:
        return Means(self.view, self._by_id, self._prepared, self.store.folder, self.seed, self.prepare_workers)

    def _prepared(self, cases: Sequence[Case], preparation: Preparation) -> list[StoredCase]:
        """Cases of any cohort on the grid of a preparation: those known already, the others by the store."""
        keys = [(preparation, case.dataset, case.case_id) for case in cases]
        if wanted := {key: case for key, case in zip(keys, cases, strict=True) if key not in self._stored}:
            left: dict[str, Any] = {}
            how: Any = {"workers": self.prepare_workers, "progress": self.progress, "left_out": left}
            ready = {one.case_id: one for one in self.store.prepare([*wanted.values()], preparation, **how)}
            for error in left.values():
                warnings.warn(f"left out, for it cannot be registered: {error}", DataWarning, stacklevel=2)
            self._stored |= {key: ready.get(case.case_id) for key, case in wanted.items()}
        return [one for one in map(self._stored.__getitem__, keys) if one is not None]

    def _loader(self, part: Literal["train", "val"]) -> DataLoader[Batch]:
        trainer, means = self.trainer, self._means
        on_device = bool(trainer and trainer.strategy.root_device.type != "cpu")
        settings: dict[str, Any] = {"batch_size": self.batch_size, "sites": self.sites, "seed": self.seed}
        if part == "train":
            sourced = self.training.sourced(means)
            samples, order = training_samples(sourced, self.mixing, deferred=on_device, **settings)
        else:
            samples, order = validation_samples(self._curve_cases, self.training, means, **settings)
        loader, reason = served(
            samples,
            order,
            batch_size=self.batch_size,
            seed=self.seed,
            drop_last=self.drop_last and part == "train",
            workers=self.workers,
            useful=on_device and (self.view.augments_on_cpu or bool(self.training.makers)),
            loaders=2 if self._curve_cases else 1,
            resumed=self._resumed if part == "train" else None,
            trainer=trainer,
        )
        self._say(reason if part == "train" and trainer else None)
        return loader

    def _say(self, words: str | None) -> None:
        if words and self.progress:
            terminal.console().print(words, markup=False, highlight=False, soft_wrap=True)


@buildable(training="data")
class ATLASv1(CohortDataModule):
    """ATLAS v1.2, chronic stroke on T1w; nine sites in the INDI release."""

    def __init__(self, root: Root, modalities: Sequence[str] = ("T1w",), **settings: Any) -> None:
        super().__init__("atlas_v1", root, modalities, **settings)


@buildable(training="data")
class ATLASv2(CohortDataModule):
    """ATLAS v2.0, chronic stroke on T1w; 33 cohorts with masks."""

    def __init__(self, root: Root, modalities: Sequence[str] = ("T1w",), **settings: Any) -> None:
        super().__init__("atlas_v2", root, modalities, **settings)


@buildable(training="data")
class ISLES2015(CohortDataModule):
    """ISLES 2015: ``variant="siss"`` (sub-acute lesions) or ``"spes"`` (penumbra)."""

    def __init__(
        self, root: Root, modalities: Sequence[str], variant: Literal["siss", "spes"], **settings: Any
    ) -> None:
        super().__init__(f"isles2015_{variant}", root, modalities, **settings)


@buildable(training="data")
class ISLES2022(CohortDataModule):
    """ISLES 2022, acute and sub-acute lesions on DWI, ADC and FLAIR."""

    def __init__(self, root: Root, modalities: Sequence[str] = ("DWI", "ADC", "FLAIR"), **settings: Any) -> None:
        super().__init__("isles2022", root, modalities, **settings)


@buildable(training="data", most={"sites": 1000, "cases_per_site": 10_000, "layout_options": 10_000})
class Phantom(CohortDataModule):
    """A phantom cohort in the layout of a real dataset, written when it is not there yet and read like the real one.

    Args:
        root: where it lies or is to be written.
        modalities: the channels.
        layout: the dataset whose layout it has, and whose reader reads it.
        spacing: voxel size, mm.
        sites: how many sites it has; also the number ``data.n_sites`` that sweeps count to.
        cases_per_site: scans of each.
        phantom_seed: of anatomy, lesions and scanners.
        layout_options: further settings of the layout (``strokelab.phantoms``).
        **settings: as ``CohortDataModule``.
    """

    def __init__(
        self,
        root: str | Path,
        modalities: Sequence[str] = ("T1w",),
        layout: str = "atlas_v1",
        *,
        spacing: float = 1.0,
        sites: int = 9,
        cases_per_site: int | Sequence[int] | None = 6,
        phantom_seed: int = 0,
        layout_options: Mapping[str, Any] | None = None,
        **settings: Any,
    ) -> None:
        super().__init__(layout, root, modalities, **settings)
        self.recipe = {"spacing": spacing, "sites": sites, "cases_per_site": cases_per_site, "seed": phantom_seed}
        self.layout_options = dict(layout_options or {})

    def _root(self) -> Path:
        from strokelab.phantoms.cohort import write_cohort  # only phantoms need it

        root = Path(self.root or "").expanduser()  # one job of a sweep writes, the others wait
        settings: dict[str, Any] = {**self.layout_options, **self.recipe, "overwrite": False}
        if not (root / RECORD).is_file():
            self._say(f"No phantom cohort lies in {root}: one in the layout of {self.dataset} is written there")
        write_cohort(self.dataset, root, workers=self.prepare_workers, progress=self.progress, **settings)
        self._say(named_earlier(root, self.dataset, self.recipe | {"options": self.layout_options}))
        return root
