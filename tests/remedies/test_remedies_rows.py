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
_CLUSTER = "a cluster or a GPU"
_CHOICE = "names an option; the command has it"
_TRAINS = "its command trains models: strokelab self-train, which tests/self_training runs and continues"
_OTHER = "not executed yet: its words exist and are overrides in Hydra's grammar"
EXIST_ONLY = {
    "strokelab/configuration/fit.py:_unlike_halves": _OTHER,
    "strokelab/configuration/fit.py:check_loss": _OTHER,
    "strokelab/contract.py:_present": _OTHER,
    "strokelab/contract.py:save": _OTHER,
    "strokelab/evaluation/new_scans.py:__post_init__": _OTHER,
    "strokelab/evaluation/new_scans.py:segment": _OTHER,
    "strokelab/evaluation/outcomes.py:_refuse_edited": _OTHER,
    "strokelab/processes.py:check_main_guard": _OTHER,
    "strokelab/runs/given.py:_one_case": _OTHER,
    "strokelab/training/logged.py:_remedy": _OTHER,
    "strokelab/callbacks/rescue.py:on_fit_start": _OTHER,
    "strokelab/campaign/plan.py:refusal": _CHOICE,
    "strokelab/campaign/recipes.py:write_recipes": _CHOICE,
    "strokelab/configuration/cohort.py:phantom_settings": _OTHER,
    "strokelab/configuration/composition.py:compose": _CHOICE,
    "strokelab/configuration/composition.py:conf_folder": _INSTALLS,
    "strokelab/configuration/multirun.py:_content": _OTHER,
    "strokelab/costs.py:_time": _CHOICE,
    "strokelab/dashboard.py:__post_init__": _CHOICE,
    "strokelab/dashboard.py:_need_library": _INSTALLS,
    "strokelab/dashboard.py:publish": _INSTALLS,
    "strokelab/data/pseudo.py:_check_same": _TRAINS,
    "strokelab/data/readers/_tables.py:_excel_lines": _INSTALLS,
    "strokelab/evaluation/averaging.py:plan_averaging": _OTHER,
    "strokelab/evaluation/cohort.py:of": _OTHER,
    "strokelab/evaluation/cohort.py:part_of": _OTHER,
    "strokelab/evaluation/cohort.py:recorded": _OTHER,
    "strokelab/evaluation/entries.py:_refuse_result_twice": _OTHER,
    "strokelab/evaluation/new_scans.py:_members": _CHOICE,
    "strokelab/evaluation/outcomes.py:_own": _OTHER,
    "strokelab/evaluation/sweep.py:gather_all": _OTHER,
    "strokelab/runs/checkpoints.py:read_checkpoint": _OTHER,
    "strokelab/runs/trained.py:_onto": _OTHER,
    "strokelab/self_training/settings.py:_refuse_own": _CHOICE,
    "strokelab/self_training/settings.py:plan_of": _OTHER,
    "strokelab/self_training/teachers.py:_dice": _OTHER,
    "strokelab/self_training/teachers.py:_of_scheme": _CHOICE,
    "strokelab/sweeps/members.py:door_of": _OTHER,
    "strokelab/sweeps/record.py:told_record": _OTHER,
    "strokelab/sweeps/search/study.py:_optuna": _INSTALLS,
    "strokelab/sweeps/search/study.py:open_study": _INSTALLS,
    "strokelab/sweeps/slurm/launch.py:_sent": _CLUSTER,
    "strokelab/sweeps/slurm/submission.py:check_here": _INSTALLS,
    "strokelab/sweeps/slurm/submission.py:submit": _CLUSTER,
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
