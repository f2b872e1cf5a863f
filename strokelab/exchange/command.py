"""What ``strokelab export-nnunet`` and ``import-nnunet`` do and say."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from strokelab import runs
from strokelab.command_words import word
from strokelab.contract import Case
from strokelab.data import SEVERAL, read_cases, readers
from strokelab.data.splits import SizeBalancedKFold, Split
from strokelab.data.volumes import lesion_volumes_ml
from strokelab.errors import ConfigError, RunError
from strokelab.exchange.raw_dataset import SPLITS, export_nnunet, recorded_splits
from strokelab.files import natural_key


def export_cohort(
    root: Path,
    dataset: str,
    out: Path,
    *,
    number: int,
    name: str | None,
    modalities: Sequence[str],
    folds: int,
    val_fraction: float,
    sweep: Path | None,
    console: Console,
) -> None:
    """Read a cohort, deal or look up its folds, write it for nnU-Net, and say what to do next.

    Raises:
        StrokelabError: as ``export_nnunet``.
    """
    several = dataset == SEVERAL
    if several:
        cases, recorded = _recorded(root)
        modalities = modalities or recorded
    else:  # the whole release: scans without masks are nnU-Net's test set
        cases = read_cases(dataset, root, **({"subset": "all"} if "subset" in readers.options(dataset) else {}))
    splits: Sequence[Split] = ()
    if sweep is not None:
        splits = recorded_splits(sweep)
    elif folds:
        labelled = [case for case in cases if case.labelled]
        volumes = lesion_volumes_ml(labelled, workers=2)
        rules = _rules(folds, val_fraction, each=several)
        splits = [rule(labelled, lambda: volumes) for rule in rules]
    written = export_nnunet(cases, out, name=name or dataset, number=number, splits=splits, modalities=modalities)
    console.print(
        f"Dataset: [bold]{escape(str(written.folder))}[/]   {len(written.labelled)} labelled, "
        f"{len(written.unlabelled)} unlabelled cases, {escape(', '.join(written.modalities))}"
    )
    if written.resampled:
        console.print(f"Brought onto the grid of their case: {escape(', '.join(written.resampled))}")
    if splits:
        place = f"nnUNet_preprocessed/{written.folder.name}/"
        line = f"Folds: copy {written.folder / SPLITS} to {place} after nnUNetv2_plan_and_preprocess"
        console.print(line, markup=False, soft_wrap=True)


def _rules(folds: int, val_fraction: float, *, each: bool) -> list[Callable[..., Split]]:
    """The folds; with ``each`` they are made in each dataset."""
    rules: list[Callable[..., Split]] = [SizeBalancedKFold(fold, folds, val_fraction) for fold in range(folds)]
    if not each:
        return rules
    from strokelab.data.several_module import EachDataset  # Lightning only where it is needed

    return [EachDataset(rule) for rule in rules]


def _recorded(root: Path) -> tuple[list[Case], tuple[str, ...]]:
    """The cases and channels of a training on several datasets, as its run recorded them.

    Args:
        root: a run folder, or the folder of a sweep.

    Raises:
        RunError: there is no run, or one of a single dataset.
        DataError: the datasets are not where they were.
    """
    found = sorted([*root.glob(runs.CONFIG), *root.glob(f"*/{runs.CONFIG}")], key=lambda path: natural_key(str(path)))
    settings = runs.read_settings(found[0].parent) if found else {}
    cohort = settings.get("cohort") or {}
    if cohort.get("dataset") != SEVERAL:
        raise RunError(
            root,
            found=f"a run on {cohort.get('dataset')}" if found else "no run",
            expected="a run or a sweep with data=several, whose datasets are exported as one",
            remedy="name such a folder, or the folder of one dataset and its name",
        )
    return read_cases(SEVERAL, str(cohort["root"]), **cohort["options"]), tuple(
        settings["view"]["preparation"]["modalities"]
    )


def import_model(
    folder: Path,
    out: Path,
    *,
    folds: Sequence[str],
    checkpoint: str,
    modalities: Sequence[str],
    dataset: str | None,
    root: Path | None,
    splits: Path | None,
    console: Console,
) -> None:
    """Import the folds of a trained model, and say what can be done with them.

    Raises:
        StrokelabError: as ``import_nnunet``; or only one of dataset and root is given.
    """
    from strokelab.exchange.run_folder import Origin, import_nnunet

    if (dataset is None) != (root is None) or (splits is not None and dataset is None):
        raise ConfigError(
            "--dataset, --root and --splits",
            found="some of them",
            expected="dataset and root together, splits with both, or none",
            remedy="name the dataset the model was trained on and its folder",
        )
    origin = Origin.of(dataset, root, splits) if dataset is not None and root is not None else None
    written = import_nnunet(folder, out, folds=folds, checkpoint=checkpoint, modalities=modalities, origin=origin)
    for place in written:
        console.print(f"Run: [bold]{escape(str(place))}[/]", soft_wrap=True)
    console.print(f"Predict: strokelab predict {word(written[0])} SCAN.nii.gz --out DIR", markup=False, soft_wrap=True)
