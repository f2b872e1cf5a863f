"""Every remedy that names something to type is executed by a row; which are only checked to exist is written down here.

To add one: ``@executes("strokelab/file.py:function")`` above a test in this folder that makes the situation, does what
the remedy says and sees it gone (``doing.py`` has what is needed). A line of ``EXIST_ONLY`` says why that is not done.
"""

import ast
from pathlib import Path

from printed import texts

HERE = Path(__file__).resolve().parent

_INSTALLS = "installs or logs in: its extra or command exists"
_TRAINS = "its command trains models, strokelab self-train: the command exists"
_CALL = "arguments of a call in Python, not of a command"
EXIST_ONLY = {
    "strokelab/configuration/composition.py:conf_folder": _INSTALLS,
    "strokelab/contract.py:save": _CALL,
    "strokelab/nifti/endings.py:check_new_volumes": _CALL,
    "strokelab/dashboard.py:_need_library": _INSTALLS,
    "strokelab/dashboard.py:publish": _INSTALLS,
    "strokelab/data/pseudo.py:_check_same": _TRAINS,
    "strokelab/data/readers/_tables.py:_excel_lines": _INSTALLS,
    "strokelab/exchange/dicom_convert.py:program": _INSTALLS,
    "strokelab/exchange/dicom_series.py:_header": _INSTALLS,
    "strokelab/networks/monai_networks.py:_class_of": _INSTALLS,
    "strokelab/sweeps/search/study.py:_optuna": _INSTALLS,
}


def remedies() -> set[str]:
    """The places of all remedies that say what to type."""
    return {text.place for text in texts() if text.told and text.part == "remedy"}


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
    assert sorted(remedies() - executed() - EXIST_ONLY.keys()) == []


def test_no_row_and_no_reason_outlives_its_remedy():
    sources = {text.place for text in texts()}
    assert sorted(executed() - sources) == []
    assert sorted(EXIST_ONLY.keys() - remedies()) == []
    assert sorted(EXIST_ONLY.keys() & executed()) == []
