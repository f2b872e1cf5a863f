"""Many trainings: sweeps, clusters, plans, boards."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from strokelab import terminal
from strokelab.campaign.command import plan_command
from strokelab.cli.app import COMPARE, SWEEP, app, console
from strokelab.cli.machine_readable import one_object


@app.command(rich_help_panel=SWEEP)
def sweep(
    folder: Annotated[Path, typer.Argument(help="The folder of a sweep: hydra.sweep.dir.")],
    resume: Annotated[bool, typer.Option(help="Train what is not finished, on this machine.")] = False,
    at_once: Annotated[int | None, typer.Option(help="With --resume: members at a time; default: as GPUs.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on standard output and nothing else there.")] = False,
) -> None:
    """How a sweep stands: its table at any time, also as sweep.csv. With --resume, exit status 1 if any is left."""
    from strokelab.sweeps.table import print_sweep, sweep_content

    folder = folder.expanduser().resolve()
    voice, left = terminal.console(stderr=True) if as_json else console, False
    if resume:
        from strokelab.sweeps.resuming import resume_sweep

        left = not resume_sweep(folder, voice, at_once=at_once or "auto")
    elif not as_json:
        print_sweep(folder, voice)
    if as_json:
        with one_object("strokelab.sweep/1") as content:
            content |= sweep_content(folder)
    if left:
        raise typer.Exit(1)


@app.command(context_settings={"ignore_unknown_options": True}, rich_help_panel=SWEEP)
def submit(
    overrides: Annotated[
        list[str] | None, typer.Argument(help="Settings and sweeps, as train.py -m takes them.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print the sbatch script, submit nothing.")] = False,
) -> None:
    """Train a sweep, or one run, as jobs of a SLURM cluster. Time, nodes: hydra.launcher.time=600 and its like."""
    from strokelab.sweeps.slurm.command import submit_sweep

    submit_sweep(overrides or (), dry_run=dry_run)


@app.command("self-train", context_settings={"ignore_unknown_options": True}, rich_help_panel=SWEEP)
def self_train_schemes(
    overrides: Annotated[list[str] | None, typer.Argument(help="Settings, as train.py -m takes them.")] = None,
    out: Annotated[Path, typer.Option(help="Folder of all runs: the same one goes on.")] = Path("multirun/mapping"),
    schemes: Annotated[str, typer.Option(help="That may teach.")] = "nnunet,nnunet_topk,nnunet_residual",
    until: Annotated[str, typer.Option(help="The last stage to do: teachers, labels or students.")] = "students",
    weight: Annotated[float, typer.Option(help="Samples of a pseudo-labelled case for one of a labelled case.")] = 1,
    per_fold: Annotated[bool, typer.Option(help="Masks by teachers that have not seen the fold's test cases.")] = True,
    device: Annotated[str | None, typer.Option(help="Where masks are predicted; default: where trainings run.")] = None,
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


@app.command(rich_help_panel=SWEEP)
def stack(
    folder: Annotated[Path, typer.Argument(help="The folder of a sweep, all its members finished.")],
    out: Annotated[Path, typer.Option(help="A new folder for the masks and cases.csv.")],
    store: Annotated[Path | None, typer.Option(help="Prepared cases; default: STROKELAB_STORE, else a cache.")] = None,
    device: Annotated[str, typer.Option(help="Where the runs predict.")] = "cpu",
    allow: Annotated[list[str] | None, typer.Option(help="Prefix of your own classes; repeatable.")] = None,
) -> None:
    """What the runs of a sweep find in cases they have not seen, as channels to train on: data=folder."""
    from strokelab.evaluation.stacking import stack as write
    from strokelab.preparation.store import PreparedStore, default_store

    kept = PreparedStore(store or default_store())
    table = write(folder, out, store=kept, console=console, device=device, allow=allow or ())
    console.print(f"Channels: [bold]{escape(str(table))}[/]", soft_wrap=True)


@app.command(rich_help_panel=COMPARE)
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
    console.print(f"Board: [bold]{escape(str(boards.write_specification(board, out)))}[/]")
    if publish:
        console.print(f"Published: {escape(boards.publish(board))}")


app.command(rich_help_panel=SWEEP)(plan_command())  # its options are the fields of campaign.Campaign
