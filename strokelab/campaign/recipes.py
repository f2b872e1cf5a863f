"""``strokelab recipes``: what each experiment of a paper trains on and how, beside the paper's words, as Markdown.

Counts come from the experiments' own splits on the published numbers of scans; no image is read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from strokelab.configuration import Settings, build, compose, conf_folder, plain
from strokelab.configuration.stages import of_stages
from strokelab.contract import Case, LesionFile
from strokelab.data.splits import Split
from strokelab.errors import ConfigError
from strokelab.files import write_text
from strokelab.report.paper_tables import load_table

PAPERS: Mapping[str, str] = {
    "sgnet": "sgnet_table5",
    "mapping": "mapping_table1",
    "sunet": "sunet_table1",
    "resunet3d": "resunet3d_table2",
    "synthstroke": "synthstroke_table1",
}
"""Prefix of experiments, and name of the page in ``docs/methods`` -> the table in ``conf/paper`` with its words."""
_ATLAS_V1 = dict(enumerate((55, 34, 27, 12, 27, 14, 11, 35, 14), start=1))  # scans of the INDI release; site 8: 9 twice
_RELEASE_1 = 239  # scans in MNI space that Tomita 2020 counts; the INDI release has 229
_ATLAS_V2, _UNLABELLED = 655, 300
_ISLES: Mapping[str, int] = {"siss": 28, "spes": 30, "isles2022": 250}
_COLUMNS = ("cases", "epochs", "batch", "precision", "loss", "optimiser", "input")


def experiments(paper: str) -> list[str]:
    """The names of a paper's experiments, without the small ones."""
    names = sorted(path.stem for path in (conf_folder() / "experiment").glob(f"{paper}_*.yaml"))
    return [name for name in names if "_small" not in name]


@cache
def settings_of(experiment: str) -> Settings:
    """An experiment as ``train.py experiment=...`` composes it."""
    return plain(compose("train", [f"experiment={experiment}"]))


def published_cohort(settings: Settings) -> list[Case]:
    """Cases without files, as many of each site and subject as the release that an experiment names has."""
    target = str(settings["data"]["_target_"])
    if "ISLES" in target:
        name = settings["data"].get("variant", "isles2022")
        return [_case(f"{name}-{n}", f"{name}-{n}", name) for n in range(1, 1 + _ISLES[name])]
    if target.endswith("ATLASv2"):
        return [_case(f"sub-r{n:04d}_ses-1", f"sub-r{n:04d}", f"R{n % 33:03d}") for n in range(_ATLAS_V2)]
    cases = []
    further = _RELEASE_1 - sum(_ATLAS_V1.values()) if str(settings["name"]).startswith("resunet3d") else 0
    for site, scans in {**_ATLAS_V1, 9: _ATLAS_V1[9] + further}.items():
        twice = 9 if site == 8 else 0
        for subject in range(scans - twice):
            name = f"03{site}{subject:03d}"
            cases += [
                _case(f"{name}_{visit}", name, f"Site{site}") for visit in ("t01", "t02")[: 1 + (subject < twice)]
            ]
    return cases


def splits_of(settings: Settings) -> list[Split]:
    """The split of an experiment on its published cohort, or those of its folds."""
    cases = published_cohort(settings)
    volumes = {case.case_id: float(number) for number, case in enumerate(cases)}
    rule = settings["split"]
    if "fold" not in rule:
        return [build(rule)(cases, lambda: volumes)]
    folds = rule.get("folds") or len({case.site for case in cases})
    rules = [{**rule, "fold": fold} for fold in range(folds)] if "fold" in rule else [rule]
    return [build(one)(cases, lambda: volumes) for one in rules]


def recipe_table(paper: str) -> str:
    """The Markdown table of a paper's experiments.

    Raises:
        ConfigError: no such paper.
    """
    if paper not in PAPERS:
        raise ConfigError("strokelab recipes", found=paper, expected=f"one of {', '.join(PAPERS)}", remedy="correct it")
    words = load_table(conf_folder() / "paper" / f"{PAPERS[paper]}.yaml").protocol.training
    lines = [f"| | {' | '.join(('training, validation, test cases', *_COLUMNS[1:]))} |", "| --- " * 8 + "|"]
    lines.append(f"| the paper's words | {' | '.join(words.get(column, 'not stated') for column in _COLUMNS)} |")
    for name in experiments(paper):
        stages = [_facts(stage) for stage in of_stages(settings_of(name))]
        facts = {column: ", then ".join(dict.fromkeys(stage[column] for stage in stages)) for column in _COLUMNS}
        lines.append(f"| `{name}` | {' | '.join(facts[column] for column in _COLUMNS)} |")
    return "\n".join(lines)


def write_recipes(docs: Path) -> list[Path]:
    """Put the tables into the pages, between their marks.

    Raises:
        ConfigError: a page is missing, or has no marks.
    """
    pages = []
    for paper in PAPERS:
        page = docs / "methods" / f"{paper}.md"
        text = page.read_text(encoding="utf-8") if page.is_file() else ""
        found = _between(paper).search(text)
        if not found:
            raise ConfigError(
                page,
                found="no such page" if not text else "no marks",
                expected=f"<!-- recipes {paper} --> and <!-- end of recipes -->",
                remedy="name the folder docs of a checkout with --write",
            )
        write_text(page, f"{text[: found.start(1)]}\n{recipe_table(paper)}\n{text[found.end(1) :]}")
        pages.append(page)
    return pages


def written_table(page: Path, paper: str) -> str:
    """The table that stands between the marks of a page; ``""``: none."""
    found = _between(paper).search(page.read_text(encoding="utf-8"))
    return found[1].strip() if found else ""


def _between(paper: str) -> re.Pattern[str]:
    return re.compile(rf"<!-- recipes {paper} -->(.*?)<!-- end of recipes -->", re.DOTALL)


def _case(name: str, subject: str, site: str) -> Case:
    image = Path(f"{name}_T1w.nii.gz")
    lesion = LesionFile(Path(f"{name}_mask.nii.gz"))
    return Case(name, subject, "published", site=site, images={"T1w": image}, lesions=(lesion,), label_modality="T1w")


def _facts(settings: Settings) -> dict[str, str]:
    trainer, model, view = settings["trainer"], settings["model"], settings["view"]
    batch, sampler = settings["data"].get("batch_size"), view["sampler"]
    lengths = {
        "iterations_per_epoch": "{} steps",
        "per_case": "{} patches a case",
        "size": "one crop a case, {}",
    }
    counted = [words.format(_size(sampler[key])) for key, words in lengths.items() if sampler.get(key)]
    mixing = settings["data"].get("mixing") or {}
    if mixing.get("steps"):
        counted = [f"{mixing['steps']} steps{_turns(settings)}, crops of {_size(sampler.get('size'))}"]
    length = f" of {counted[0]}" if counted else ""
    stopping = (settings["callbacks"] or {}).get("early_stopping")
    stop = f", until {stopping['patience']} bring no gain in `{stopping['monitor']}`" if stopping else ""
    precision = str(trainer["precision"])
    lengths_of_run = ("total_iters", "steps_per_epoch")
    scheduler = f", {_call(model['scheduler'], leave_out=lengths_of_run)}" if model["scheduler"] else ""
    clip = f", gradients clipped at {trainer['gradient_clip_val']}" if trainer.get("gradient_clip_val") else ""
    each = model["loss"].get("each") or model["loss"]
    return {
        "cases": _counts(settings),
        "epochs": f"{', then '.join(str(one['trainer']['max_epochs']) for one in of_stages(settings))}{length}{stop}",
        "batch": str(batch or "2 (planned)"),
        "precision": "mixed (`auto`)" if precision == "auto" else f"`{precision}`",
        "loss": _call(each),
        "optimiser": f"{_call(model['optimizer'])}{scheduler}{clip}",
        "input": str(view["preparation"]["normalize"]).replace("???", "z-score per scan (planned)"),
    }


def _counts(settings: Settings) -> str:
    splits = splits_of(settings)
    parts = [[len(getattr(split, part)) for split in splits] for part in ("train", "val", "test")]
    words = [str(one[0]) if len(set(one)) == 1 else ", ".join(map(str, one)) for one in parts]
    pseudo = f" + {_UNLABELLED} pseudo-labelled" if settings["data"].get("pseudo") else ""
    return f"{words[0]}{pseudo}; {words[1]}; {words[2]}"


def _turns(settings: Settings) -> str:
    """Steps of each source before the next one's turn, where there are several."""
    names, ratio = ("real", *(settings["data"].get("sources") or {})), settings["data"]["mixing"]["ratio"]
    return f" ({' : '.join(names)} = {':'.join(map(str, ratio))})" if len(ratio) > 1 else ""


def _size(value: Any) -> str:
    """A count, or the sides of a box."""
    return " x ".join(map(str, value)) if isinstance(value, list) else str(value)


def _call(node: Mapping[str, Any], leave_out: Sequence[str] = ()) -> str:
    """A node as it is written in Python, without what says nothing."""
    hidden = ("_target_", "_partial_", *leave_out)
    told = [
        f"{key}={value:g}" if _is_number(value) else f"{key}={value}"
        for key, value in node.items()
        if key not in hidden
    ]
    return f"{str(node['_target_']).rpartition('.')[2]}({', '.join(told)})"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)
