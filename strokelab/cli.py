"""The ``strokelab`` command. Nothing here is written twice: each of its commands calls its room."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from strokelab.campaign.command import plan_command
from strokelab.errors import StrokelabError

app = typer.Typer(no_args_is_help=True, add_completion=True, pretty_exceptions_enable=False, help=__doc__)
console = Console()

Dataset = Annotated[str, typer.Option(help="atlas_v1, atlas_v2, isles2015_siss, isles2015_spes, isles2022, folder.")]
Spacing = Annotated[float, typer.Option(help="Voxel size in mm, 1 (full size) to 8.")]


def main() -> None:
    """Run the command; a user's mistake ends with its message and status 1."""
    try:
        app()
    except StrokelabError as error:
        console.print(f"[bold red]{type(error).__name__}[/] ", end="")
        console.print(str(error), markup=False, highlight=False, soft_wrap=True)
        sys.exit(1)


@app.command()
def phantom(
    layout: Annotated[str, typer.Option(help="atlas_v1, atlas_v2, isles2015_siss, isles2015_spes or isles2022.")],
    out: Annotated[Path, typer.Option(help="Where the cohort goes.")],
    spacing: Spacing = 1.0,
    sites: Annotated[int, typer.Option(help="Number of sites.")] = 9,
    cases_per_site: Annotated[int, typer.Option(help="Cases per site.")] = 6,
    seed: Annotated[int, typer.Option(help="Same seed, same files, bit for bit.")] = 0,
    workers: Annotated[int, typer.Option(help="Processes that write.")] = 2,
) -> None:
    """Write a phantom cohort with real MNI anatomy in the exact layout of a public dataset."""
    from strokelab.phantoms.cohort import write_cohort

    root = write_cohort(
        layout, out, spacing=spacing, sites=sites, cases_per_site=cases_per_site, seed=seed, workers=workers
    )
    console.print(f"Cohort: [bold]{root}[/]   (strokelab check {root} --dataset {layout})")


@app.command()
def check(
    root: Annotated[Path, typer.Argument(help="The dataset's folder.")],
    dataset: Dataset,
    deep: Annotated[bool, typer.Option(help="Also read every image's voxels: NaN, Inf, constant images.")] = False,
) -> None:
    """Cases, sites, modalities, lesion volumes, and every problem with its file. Exit status 1 when there is one."""
    from strokelab.data.check import check_cohort

    report = check_cohort(root, dataset, deep=deep)
    report.render(console)
    if not report.ok:
        raise typer.Exit(1)


@app.command()
def predict(
    run: Annotated[Path, typer.Argument(help="A run folder, or the folder of a sweep: the mean of its runs.")],
    inputs: Annotated[
        list[Path],
        typer.Argument(help="Further runs to average, then NIfTI files or folders of them; no labels, no site needed."),
    ],
    out: Annotated[Path, typer.Option(help="Where the BIDS derivative goes.")],
    checkpoint: Annotated[str | None, typer.Option(help="last, best or a file; default: the run's own choice.")] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
    probabilities: Annotated[bool, typer.Option(help="Also write probability maps.")] = True,
    disagreement: Annotated[bool, typer.Option(help="Of several runs: also write their standard deviation.")] = False,
    postprocess: Annotated[
        list[str] | None, typer.Option(help="Name in conf/postprocess; repeated, its settings: size_limit=2000.")
    ] = None,
    weights: Annotated[str, typer.Option(help="Of several runs: per_map or per_scheme.")] = "per_map",
    memory_gb: Annotated[float, typer.Option(help="Of several runs: weights that stay loaded.")] = 4.0,
    precision: Annotated[str, typer.Option(help="as_trained, 32, bf16 or 16.")] = "as_trained",
    windows: Annotated[list[str] | None, typer.Option(help="Shortcuts: mirror=none, step=0.75; repeatable.")] = None,
    allow: Annotated[list[str] | None, typer.Option(help="Prefix of your own classes in the run's config.")] = None,
) -> None:
    """Segment new scans with one run or the mean of several: masks, probabilities, QC pictures, lesion volumes."""
    from strokelab.evaluation.new_scans import Applying, segment

    applying = Applying(
        checkpoint=checkpoint,
        device=device,
        probabilities=probabilities,
        allow=allow or (),
        postprocess=postprocess or (),
        weights=weights,
        disagreement=disagreement,
        memory_gb=memory_gb,
        precision=precision,
        windows=windows or (),
    )
    segment([run, *inputs], applying, out=out, console=console)


@app.command()
def report(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, or folders of sweeps.")],
    out: Annotated[Path, typer.Option(help="Where the report goes.")] = Path("report"),
) -> None:
    """Evaluate runs on the test parts of their splits and write one offline HTML report."""
    from strokelab.configuration import compose
    from strokelab.evaluation import evaluate, is_sweep

    listed = {
        key: ",".join(f"'{path}'" for path in runs if is_sweep(path) == (key == "sweeps")) for key in ("runs", "sweeps")
    }
    evaluate(compose("evaluate", [*(f"{key}=[{paths}]" for key, paths in listed.items()), f"out='{out}'"]))


@app.command()
def sweep(
    folder: Annotated[Path, typer.Argument(help="The folder of a sweep: hydra.sweep.dir.")],
    resume: Annotated[bool, typer.Option(help="Train what is not finished, on this machine.")] = False,
    at_once: Annotated[int | None, typer.Option(help="With --resume: members at a time; default: as GPUs.")] = None,
) -> None:
    """How a sweep stands: its table at any time, also as sweep.csv. With --resume, exit status 1 if any is left."""
    from strokelab.sweeps.table import print_sweep

    if not resume:
        print_sweep(folder.expanduser().resolve(), console)
        return
    from strokelab.sweeps.resuming import resume_sweep

    if not resume_sweep(folder, console, at_once=at_once or "auto"):
        raise typer.Exit(1)


@app.command()
def score(
    predictions: Annotated[str | None, typer.Argument(help="A mask, a folder of masks, or a quoted pattern.")] = None,
    references: Annotated[str | None, typer.Argument(help="The drawn masks: the same.")] = None,
    pairs: Annotated[
        Path | None,
        typer.Option(help="Instead of both: a csv with the columns case, prediction, reference."),
    ] = None,
    dataset: Annotated[
        str | None, typer.Option(help="REFERENCES is the folder of this dataset, e.g. atlas_v2.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where tables and report go.")] = Path("scores"),
    profile: Annotated[
        str, typer.Option(help="default, atlas, isles22, synthstroke, tomita, isles2015 ...")
    ] = "default",
    name: Annotated[str | None, typer.Option(help="Of the first method; default: its folder's name.")] = None,
    beside: Annotated[list[str] | None, typer.Option(help="NAME=PLACE of a further method; repeatable.")] = None,
    images: Annotated[Path | None, typer.Option(help="Folder with the scans, for the ground under overlays.")] = None,
    participants: Annotated[Path | None, typer.Option(help="participants.tsv with site and scanner.")] = None,
    threshold: Annotated[float | None, typer.Option(help="Predictions are probability maps: p >= this.")] = None,
    labels: Annotated[str | None, typer.Option(help="Labels of the predictions that mean lesion: 1,2.")] = None,
    reference_threshold: Annotated[float | None, typer.Option(help="As --threshold, of the references.")] = None,
    reference_labels: Annotated[str | None, typer.Option(help="As --labels, of the references.")] = None,
    allow_extra: Annotated[bool, typer.Option(help="Leave predictions without a reference aside.")] = False,
    strict_grid: Annotated[bool, typer.Option(help="Refuse masks on other grids than their reference's.")] = False,
    workers: Annotated[int | None, typer.Option(help="Processes; default: one per core.")] = None,
) -> None:
    """Score masks made by any tool: per-case table, summary, report. Exit status 1 when a case could not be scored."""
    from strokelab.scoreboard.command import Sources, score_masks
    from strokelab.scoreboard.masks import MaskRule, labels_of
    from strokelab.scoreboard.score import Rules

    of_predictions = MaskRule(threshold, labels_of(labels))
    of_references = MaskRule(reference_threshold, labels_of(reference_labels))
    sources = Sources(
        predictions,
        references,
        pairs=pairs,
        dataset=dataset,
        name=name,
        beside=beside or (),
        images=images,
        participants=participants,
        allow_extra=allow_extra,
    )
    rules = Rules(of_predictions, of_references, profile, strict_grid)
    score_masks(sources, rules, out, workers=workers, console=console)


@app.command()
def agreement(
    first: Annotated[
        str | None, typer.Argument(help="Masks of one rater, model or day; or a dataset's folder.")
    ] = None,
    second: Annotated[str | None, typer.Argument(help="Masks of the other: file, folder or quoted pattern.")] = None,
    pairs: Annotated[Path | None, typer.Option(help="Instead: a csv with the columns case, first, second.")] = None,
    dataset: Annotated[
        str | None, typer.Option(help="FIRST is this dataset: visits of one person are compared.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Where tables and figure go.")] = Path("agreement"),
    threshold: Annotated[float | None, typer.Option(help="Probability maps: p >= this is lesion.")] = None,
    labels: Annotated[str | None, typer.Option(help="Labels that mean lesion: 1,2.")] = None,
    strict_grid: Annotated[bool, typer.Option(help="Refuse masks on two grids.")] = False,
    workers: Annotated[int | None, typer.Option(help="Processes; default: one per core.")] = None,
) -> None:
    """Compare masks of which neither is the truth: two raters, two models, test and retest. Exit status as score."""
    from strokelab.scoreboard.compare import Options, compare_masks, find_twins
    from strokelab.scoreboard.masks import MaskRule, labels_of

    rule = MaskRule(threshold, labels_of(labels))
    twins = find_twins(first, second, pairs=pairs, dataset=dataset, rule=rule)
    compare_masks(twins, Options(rule, strict_grid, workers), out, console=console)


@app.command()
def cost(
    models: Annotated[list[str] | None, typer.Argument(help="Names in conf/model; default: every one.")] = None,
    out: Annotated[Path | None, typer.Option(help="Also write tables/costs.csv and .tex into this folder.")] = None,
    seconds: Annotated[bool, typer.Option(help="Time a synthetic case of the model's own grid.")] = True,
    samples: Annotated[
        int, typer.Option(help="Slices or patches to compute for that, the rest is reckoned; 0: all.")
    ] = 4,
    device: Annotated[str, typer.Option(help="Where to time: cpu, cuda, cuda:1, ...")] = "cpu",
) -> None:
    """Parameters, multiply-adds, memory and seconds per case of every model, beside SG-Net's Tables IV and V."""
    from strokelab.costs import print_costs

    print_costs(models or (), out=out, seconds=seconds, samples=samples, device=device, console=console)


@app.command()
def dashboard(
    project: Annotated[str, typer.Option(help="Of W&B.")] = "strokelab",
    entity: Annotated[str | None, typer.Option(help="User or team; default: WANDB_ENTITY or the login's own.")] = None,
    group_by: Annotated[str, typer.Option(help="family, held_out, dataset, sweep, fold or seed.")] = "family",
    dataset: Annotated[str | None, typer.Option(help="Only runs on this one, e.g. atlas_v1.")] = None,
    vary: Annotated[list[str] | None, typer.Option(help="Setting that a search varied; repeatable.")] = None,
    out: Annotated[Path, typer.Option(help="Where the board's definition goes.")] = Path("dashboard.json"),
    publish: Annotated[bool, typer.Option("--publish", help="Save it in the project; needs a login.")] = False,
) -> None:
    """Define the board that compares all runs of a W&B project: held-out Dice, curves, sites, cases, differences."""
    from strokelab import dashboard as boards

    board = boards.Board(project, entity, group_by, dataset, tuple(vary or ("model.optimizer.lr",)))
    console.print(f"Board: [bold]{boards.write_specification(board, out)}[/]")
    if publish:
        console.print(f"Published: {boards.publish(board)}")


@app.command(context_settings={"ignore_unknown_options": True})
def submit(
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Settings and sweeps, as train.py -m takes them.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the sbatch script, submit nothing.")] = False,
) -> None:
    """Train a sweep, or one run, as jobs of a SLURM cluster. Nodes, GPUs, time: conf/hydra/launcher/slurm.yaml."""
    from strokelab.sweeps.slurm.command import submit_sweep

    submit_sweep(overrides or (), dry_run=dry_run)


@app.command("import-nnunet")
def import_from_nnunet(
    folder: Annotated[Path, typer.Argument(help="A trained model: plans.json (v2) or plans.pkl (v1), fold_0, ...")],
    out: Annotated[Path, typer.Option(help="With one --fold the run folder, otherwise one folder per fold in it.")],
    fold: Annotated[list[str] | None, typer.Option(help="0, 1, ... or all; repeatable. Default: every one.")] = None,
    checkpoint: Annotated[str, typer.Option(help="final, best or latest.")] = "final",
    modality: Annotated[list[str] | None, typer.Option(help="Our name of a channel, in order; repeatable.")] = None,
    dataset: Annotated[str | None, typer.Option(help="What it was trained on, e.g. atlas_v2.")] = None,
    root: Annotated[Path | None, typer.Option(help="With --dataset: its folder.")] = None,
    splits: Annotated[
        Path | None, typer.Option(help="With --dataset: splits_final.json, who tests which fold.")
    ] = None,
) -> None:
    """Turn a trained nnU-Net model (v2, v1) into run folders that predict the same masks. Executes nothing of it."""
    from strokelab.exchange.command import import_model

    import_model(
        folder,
        out,
        folds=fold or (),
        checkpoint=checkpoint,
        modalities=modality or (),
        dataset=dataset,
        root=root,
        splits=splits,
        console=console,
    )


@app.command("export-nnunet")
def export_to_nnunet(
    root: Annotated[Path, typer.Argument(help="The dataset's folder.")],
    dataset: Dataset,
    out: Annotated[Path, typer.Option(help="nnU-Net's folder of raw datasets (nnUNet_raw).")],
    number: Annotated[int, typer.Option("--id", help="Number of the dataset there, 1 to 999.")] = 501,
    name: Annotated[str | None, typer.Option(help="Its name; default: that of --dataset.")] = None,
    modality: Annotated[list[str] | None, typer.Option(help="A channel; repeatable. Default: all of a case.")] = None,
    folds: Annotated[int, typer.Option(help="Folds of equal lesion sizes for splits_final.json; 0: none.")] = 5,
    val_fraction: Annotated[float, typer.Option(help="As split.val_fraction: persons that neither part gets.")] = 0.0,
    sweep: Annotated[Path | None, typer.Option(help="Instead: the folds that the runs in this folder had.")] = None,
) -> None:
    """Write a cohort as an nnU-Net raw dataset with our folds, to check us against nnU-Net on the same data."""
    from strokelab.exchange.command import export_cohort

    export_cohort(
        root,
        dataset,
        out,
        number=number,
        name=name,
        modalities=modality or (),
        folds=folds,
        val_fraction=val_fraction,
        sweep=sweep,
        console=console,
    )


@app.command("self-train", context_settings={"ignore_unknown_options": True})
def self_train_schemes(
    overrides: Annotated[list[str] | None, typer.Argument(help="Settings, as train.py -m takes them.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of all runs: the same one goes on.")] = Path("multirun/mapping"),
    schemes: Annotated[str, typer.Option(help="That may teach.")] = "nnunet,nnunet_topk,nnunet_residual",
    until: Annotated[str, typer.Option(help="The last stage to do: teachers, labels or students.")] = "students",
    weight: Annotated[float, typer.Option(help="How often a pseudo-labelled case is drawn beside a labelled one.")] = 1,
    per_fold: Annotated[bool, typer.Option(help="Masks by teachers that have not seen the fold's test cases.")] = True,
    device: Annotated[str | None, typer.Option(help="Where masks are drawn; default: where trainings run.")] = None,
) -> None:
    """MAPPING's four schemes: train three, label the unlabelled with the best, train the fourth. Resumable."""
    from strokelab.self_training.command import self_train

    self_train(
        overrides or (),
        out,
        schemes=[name.strip() for name in schemes.split(",")],
        until=until,
        weight=weight,
        per_fold=per_fold,
        device=device,
        console=console,
    )


app.command()(plan_command())  # its options are the fields of campaign.Campaign


if __name__ == "__main__":
    main()
