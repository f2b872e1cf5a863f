"""Every remedy that names something to type is executed by a row; which are only checked to exist is written down here.

To add one: ``@executes("strokelab/file.py:function")`` above a test in this folder that makes the situation, does what
the remedy says and sees it gone (``doing.py`` has what is needed). A line of ``EXIST_ONLY`` says why that is not done.
"""

import ast
from pathlib import Path

from printed import texts

HERE = Path(__file__).resolve().parent
REMEDIES = {text.place for text in texts() if text.told and text.part == "remedy"}

_INSTALLS = "installs or logs in: its extra or command exists"
_CHOICE = "names an option; the command has it"
_OTHER = "not executed yet: its words exist and are overrides in Hydra's grammar"
EXIST_ONLY = {
    "strokelab/view.py:__post_init__": _OTHER,
    "strokelab/contract.py:_present": _OTHER,
    "strokelab/contract.py:save": _OTHER,
    "strokelab/data/new_scans.py:_check_given": _OTHER,
    "strokelab/data/new_scans.py:_none": _OTHER,
    "strokelab/data/new_scans.py:_refused": _OTHER,
    "strokelab/inference/derivative.py:check_images": _OTHER,
    "strokelab/inference/derivative.py:check_new": _OTHER,
    "strokelab/inference/derivative.py:write": _OTHER,
    "strokelab/losses/dice.py:unlike_maps": _OTHER,
    "strokelab/preparation/store.py:_unwritable": _OTHER,
    "strokelab/preparation/store.py:default_store": _OTHER,
    "strokelab/configuration/composition.py:conf_folder": _INSTALLS,
    "strokelab/dashboard.py:_need_library": _INSTALLS,
    "strokelab/dashboard.py:publish": _INSTALLS,
    "strokelab/data/cohort_checks.py:curve_cases": _OTHER,
    "strokelab/data/datamodule.py:split_result": _OTHER,
    "strokelab/data/lost_worker.py:shared": _INSTALLS,
    "strokelab/data/pseudo.py:_check_same": _OTHER,
    "strokelab/data/pseudo.py:_damaged": _OTHER,
    "strokelab/data/pseudo.py:_none_for": _OTHER,
    "strokelab/data/readers/__init__.py:_first": _OTHER,
    "strokelab/data/readers/__init__.py:_nothing": _CHOICE,
    "strokelab/data/readers/__init__.py:read": _OTHER,
    "strokelab/data/readers/_isles2015.py:label_file": _OTHER,
    "strokelab/data/readers/_isles2015.py:read_scans": _OTHER,
    "strokelab/data/readers/_tables.py:_excel_lines": _INSTALLS,
    "strokelab/data/readers/_tree.py:as_id": _OTHER,
    "strokelab/data/readers/_tree.py:lesion_file": _OTHER,
    "strokelab/data/readers/atlas_v1.py:build": _OTHER,
    "strokelab/data/readers/atlas_v1.py:read": _OTHER,
    "strokelab/data/readers/atlas_v2.py:build": _OTHER,
    "strokelab/data/readers/atlas_v2.py:read": _OTHER,
    "strokelab/data/readers/isles2022.py:build": _OTHER,
    "strokelab/data/serving.py:samples_of": _OTHER,
    "strokelab/data/worker_count.py:fitting_workers": _OTHER,
    "strokelab/exchange/raw_dataset.py:_check_cases": _CHOICE,
    "strokelab/exchange/raw_dataset.py:_check_name": _CHOICE,
    "strokelab/exchange/raw_dataset.py:export_nnunet": _CHOICE,
    "strokelab/exchange/run_folder.py:_check_modalities": _CHOICE,
    "strokelab/exchange/run_folder.py:_version": _CHOICE,
    "strokelab/exchange/run_folder.py:import_nnunet": _CHOICE,
    "strokelab/exchange/trained_model.py:": _OTHER,
    "strokelab/inference/timing.py:time_case": _CHOICE,
    "strokelab/models/adversary.py:__init__": _OTHER,
    "strokelab/models/segmenter.py:u_shaped": _OTHER,
    "strokelab/networks/hemispheres.py:split": _OTHER,
    "strokelab/networks/masked_adain.py:__init__": _OTHER,
    "strokelab/nifti/lesions.py:_several_labels": _OTHER,
    "strokelab/phantoms/cohort.py:_reusable": _OTHER,
    "strokelab/planning/fingerprint.py:fingerprint": _OTHER,
    "strokelab/planning/stages.py:largest": _OTHER,
    "strokelab/scoreboard/command.py:_refuse_own_rules": _CHOICE,
    "strokelab/scoreboard/command.py:find_entries": _CHOICE,
    "strokelab/scoreboard/compare.py:find_twins": _CHOICE,
    "strokelab/scoreboard/entries.py:matched_entries": _CHOICE,
    "strokelab/scoreboard/lists.py:read_participants": _CHOICE,
    "strokelab/scoreboard/masks.py:bring_to": _CHOICE,
    "strokelab/scoreboard/matching.py:_ambiguous": _CHOICE,
    "strokelab/scoreboard/matching.py:match": _CHOICE,
    "strokelab/scoreboard/twins.py:retests": _OTHER,
    "strokelab/scoreboard/workers.py:over_cases": _CHOICE,
    "strokelab/sweeps/search/study.py:_optuna": _INSTALLS,
}


def executed() -> set[str]:
    """The places of all rows."""
    return {
        str(argument.value)
        for path in HERE.glob("test_*.py")
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "executes"
        for argument in node.args
        if isinstance(argument, ast.Constant)
    }


def test_every_remedy_has_a_row_or_a_reason():
    assert sorted(REMEDIES - executed() - EXIST_ONLY.keys()) == []


def test_no_row_and_no_reason_outlives_its_remedy():
    sources = {text.place for text in texts()}
    assert sorted(executed() - sources) == []
    assert sorted(EXIST_ONLY.keys() - REMEDIES) == []
    assert sorted(EXIST_ONLY.keys() & executed()) == []
