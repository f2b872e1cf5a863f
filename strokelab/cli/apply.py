"""Apply runs to scans."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from strokelab import terminal
from strokelab.cli.app import APPLY, app, console
from strokelab.cli.machine_readable import one_object


@app.command(rich_help_panel=APPLY)
def predict(
    run: Annotated[
        Path, typer.Argument(help="A run folder, a packed model, or the folder of a sweep: the mean of its runs.")
    ],
    inputs: Annotated[
        list[Path],
        typer.Argument(help="Further runs to average, then NIfTI files or folders of them; no labels, no site needed."),
    ],
    out: Annotated[Path, typer.Option(help="Where the BIDS derivative goes.")],
    checkpoint: Annotated[
        list[str] | None,
        typer.Option(help="last, best, snapshots (all) or a file; repeated: the mean. Default: the run's own."),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")] = "cpu",
    probabilities: Annotated[bool, typer.Option(help="Also write probability maps.")] = True,
    classes: Annotated[bool, typer.Option("--classes", help="Also write the maps of all classes.")] = False,
    disagreement: Annotated[bool, typer.Option(help="Of several maps: also write their standard deviation.")] = False,
    postprocess: Annotated[
        list[str] | None, typer.Option(help="Name in conf/postprocess; repeated, its settings: size_limit=2000.")
    ] = None,
    weights: Annotated[str, typer.Option(help="Of several runs: per_map or per_scheme.")] = "per_map",
    memory_gb: Annotated[float, typer.Option(help="Of several runs: weights that stay loaded.")] = 4.0,
    precision: Annotated[str, typer.Option(help="as_trained, 32, bf16 or 16.")] = "as_trained",
    windows: Annotated[list[str] | None, typer.Option(help="Shortcuts: mirror=none, step=0.75; or full.")] = None,
    register: Annotated[
        str, typer.Option(help="Scans to MNI space, for runs trained in it: auto, always or never.")
    ] = "auto",
    brain_mask: Annotated[
        str,
        typer.Option(
            help="A mask file of the one scan; or how masks are found: auto, nonzero, synthstrip, hd-bet, ..."
        ),
    ] = "as_trained",
    allow: Annotated[list[str] | None, typer.Option(help="Prefix of your own classes in the run's config.")] = None,
    as_modality: Annotated[
        str | None, typer.Option("--as", help="Take scans for the run's modality though their names say another.")
    ] = None,
    as_each: Annotated[
        list[str] | None,
        typer.Option(help="Feed a run of one modality with this image; repeated: the mean."),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace cases that --out holds already.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Leave out cases that --out holds of this run.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print an account as JSON; all else goes to stderr.")] = False,
) -> None:
    """Segment new scans with one run or the mean of several maps: masks, probabilities, QC pictures, lesion volumes."""
    from strokelab.evaluation.new_scans import Applying, Writing, segment

    applying = Applying(
        checkpoints=checkpoint or (),
        device=device,
        probabilities=probabilities,
        classes=classes,
        allow=allow or (),
        postprocess=postprocess or (),
        weights=weights,
        disagreement=disagreement,
        memory_gb=memory_gb,
        precision=precision,
        windows=windows or (),
        register=register,
        brain_mask=brain_mask,
        as_modality=as_modality,
        as_each=as_each or (),
    )
    if not as_json:
        segment([run, *inputs], applying, Writing(out, overwrite=overwrite, resume=resume), console=console)
        return
    with one_object("strokelab.predict/1") as content:
        writing = Writing(out, overwrite=overwrite, resume=resume, report=content.update)
        segment([run, *inputs], applying, writing, console=terminal.console(stderr=True))
