"""Compare: reports of runs, scores of any masks, agreement, cost."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from strokelab import terminal
from strokelab.cli.app import COMPARE, HYDRA_WORDS, app, console
from strokelab.cli.machine_readable import one_object
from strokelab.command_words import word


@app.command(context_settings=HYDRA_WORDS, rich_help_panel=COMPARE)
def evaluate(ctx: typer.Context) -> None:
    """Evaluate runs or a sweep, as ``python evaluate.py`` does; ``strokelab evaluate --help`` lists its settings."""
    from strokelab.doors import enter_module

    enter_module("evaluate", ctx.args)


@app.command(rich_help_panel=COMPARE)
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


@app.command(rich_help_panel=COMPARE)
def matrix(
    runs: Annotated[list[Path], typer.Argument(help="Run folders, or folders of sweeps.")],
    on: Annotated[
        list[str], typer.Option(help="Datasets: NAME=PATH, several with commas; NAME alone: where conf/data says.")
    ],
    out: Annotated[Path, typer.Option(help="Where the page and its tables go.")] = Path("matrix"),
    checkpoint: Annotated[str | None, typer.Option(help="last or best; default: each run's own choice.")] = None,
    profile: Annotated[str, typer.Option(help="Conventions of the metrics: default, atlas, isles22 ...")] = "default",
    device: Annotated[str, typer.Option(help="Where models predict: cpu, cuda, cuda:1, ...")] = "cpu",
    precision: Annotated[str, typer.Option(help="as_trained, 32, bf16 or 16.")] = "as_trained",
    register: Annotated[str, typer.Option(help="Scans to MNI space: auto, always or never.")] = "auto",
    brain_mask: Annotated[
        str, typer.Option(help="Where a scan has none: as_trained, auto, nonzero, estimated, synthstrip or hd-bet.")
    ] = "as_trained",
    store: Annotated[Path | None, typer.Option(help="Of prepared cases and kept tables.")] = None,
    allow: Annotated[list[str] | None, typer.Option(help="Prefix of your own classes; repeatable.")] = None,
    again: Annotated[bool, typer.Option("--again", help="Predict what was predicted before, too.")] = False,
    logger: Annotated[
        list[str] | None, typer.Option(help="wandb; its settings as logger.wandb.project=mine; repeatable.")
    ] = None,
) -> None:
    """Test every run on every dataset whose contrasts it can take: one table train by test, heatmap, paired tests."""
    from strokelab.evaluation.matrix import matrix as tested

    loggers = {}
    if logger:
        from strokelab.configuration import compose, plain

        chosen = [one if "=" in one else f"logger={one}" for one in logger]
        loggers = plain(compose("evaluate", [*chosen, f"out='{out}'"]))["logger"]
    tested(
        runs,
        on,
        out,
        checkpoint=checkpoint,
        profile=profile,
        device=device,
        precision=precision,
        register=register,
        brain_mask=brain_mask,
        store=store,
        allow=allow or (),
        again=again,
        loggers=loggers,
        command=" ".join(["strokelab", *map(word, sys.argv[1:])]),
    )


@app.command(rich_help_panel=COMPARE)
def score(
    predictions: Annotated[str | None, typer.Argument(help="A mask, a folder of masks, or a quoted pattern.")] = None,
    references: Annotated[str | None, typer.Argument(help="The annotated masks: the same.")] = None,
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
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object on standard output.")] = False,
) -> None:
    """Score masks made by any tool: per-case table, summary, report. Exit status 1 when a case could not be scored."""
    from strokelab.scoreboard import command
    from strokelab.scoreboard.masks import MaskRule, labels_of
    from strokelab.scoreboard.score import Rules

    of_predictions = MaskRule(threshold, labels_of(labels))
    of_references = MaskRule(reference_threshold, labels_of(reference_labels))
    sources = command.Sources(
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
    if not as_json:
        command.score_masks(sources, rules, out, workers=workers, console=console)
        return
    with one_object("strokelab.score/1") as content:
        found, scores, written = command.scored(
            sources, rules, out, workers=workers, console=terminal.console(stderr=True)
        )
        content |= command.as_json(found, scores, rules, written)
        command.refuse_failed(scores, written)


@app.command(rich_help_panel=COMPARE)
def agreement(
    first: Annotated[
        str | None, typer.Argument(help="Masks of one rater, model or day; or a dataset's folder.")
    ] = None,
    second: Annotated[str | None, typer.Argument(help="Masks of the other: file, folder or quoted pattern.")] = None,
    pairs: Annotated[Path | None, typer.Option(help="Instead: a csv with the columns case, first, second.")] = None,
    dataset: Annotated[
        str | None, typer.Option(help="FIRST is this dataset: visits of one subject are compared.")
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


@app.command(rich_help_panel=COMPARE)
def recipes(
    write: Annotated[
        Path | None, typer.Option(help="Also write the tables into the pages of this folder: docs.")
    ] = None,
) -> None:
    """What every experiment of a paper trains on and how, beside the paper's words: Markdown tables."""
    from strokelab.campaign.recipes import PAPERS, recipe_table, write_recipes

    for paper in PAPERS:
        console.print(f"{paper}\n\n{recipe_table(paper)}\n", markup=False, highlight=False, soft_wrap=True)
    for page in write_recipes(write) if write else ():
        console.print(f"Written: {page}", markup=False, highlight=False, soft_wrap=True)


@app.command(rich_help_panel=COMPARE)
def paper(
    name: Annotated[
        str | None, typer.Argument(help="Of a table or figure, e.g. sgnet_table5; default: the list of all.")
    ] = None,
    more: Annotated[
        list[str] | None, typer.Argument(help="Further runs, and settings of evaluate.py such as data.root=DIR.")
    ] = None,
    runs: Annotated[list[Path] | None, typer.Option(help="Run folders and sweeps; further ones may follow.")] = None,
    out: Annotated[Path | None, typer.Option(help="Folder for what is made; default: paper/NAME.")] = None,
    leaderboard: Annotated[Path | None, typer.Option(help="A csv of teams, for a table that ranks teams.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="JSON on standard output and nothing else there.")] = False,
) -> None:
    """Every table and figure of the papers with its state; or one of them, made of runs or of scans."""
    from strokelab.papers.command import Asked, described, items, list_papers, make

    words = [*([name] if name else []), *(more or [])]
    named = words[0] if words and (words[0] in items() or not runs) else None
    further = words[1:] if named else words
    folders = [word for word in further if Path(word).exists() or "=" not in word]
    settings = tuple(word for word in further if word not in folders)
    places = (*(runs or ()), *map(Path, folders))
    if any(word.startswith("out=") for word in settings):
        raise typer.BadParameter("the folder is named with --out DIR", param_hint="out=")
    asked = Asked(places, settings, out or Path("paper") / (named or "list"), leaderboard)
    if as_json:
        voice = terminal.console(stderr=True)
        with one_object("strokelab.paper/1") as content:
            if named is None:
                content["items"] = described(list_papers(asked, voice))
            else:
                content |= {"name": named, "files": make(named, asked, voice)}
    elif named is None:
        list_papers(asked, console)
    else:
        make(named, asked, console)


@app.command(rich_help_panel=COMPARE)
def cost(
    models: Annotated[list[str] | None, typer.Argument(help="Names in conf/model; default: every one.")] = None,
    out: Annotated[Path | None, typer.Option(help="Also write tables/costs.csv and .tex into this folder.")] = None,
    seconds: Annotated[bool, typer.Option(help="Time a synthetic case of the model's own grid.")] = True,
    samples: Annotated[
        int, typer.Option(help="Slices or patches to compute for that, the rest is reckoned; 0: all.")
    ] = 4,
    device: Annotated[str, typer.Option(help="Where to time: cpu, cuda, cuda:1, ...")] = "cpu",
    memory: Annotated[
        bool, typer.Option(help="Also the peak memory of training steps, and the largest crops.")
    ] = False,
    measure: Annotated[bool, typer.Option(help="Take these steps as well, each in a process of its own.")] = False,
    crop: Annotated[
        list[str] | None, typer.Option(help="Of these steps, e.g. 64x64x64; default: that, 128x128x128, 144x172x168.")
    ] = None,
) -> None:
    """Parameters, multiply-adds, memory and seconds per case of every model, beside SG-Net's Tables IV and V."""
    from strokelab.costs import print_costs
    from strokelab.costs.memory import CROPS, Training, crop_of

    training = None
    if memory or measure or crop:
        training = Training(tuple(map(crop_of, crop or ())) or CROPS, measured=measure)
    print_costs(
        models or (),
        out=out,
        seconds=seconds,
        samples=samples,
        device=device,
        console=console,
        training=training,
    )
