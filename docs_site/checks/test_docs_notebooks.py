"""The notebooks run from the first cell to the last, in the folder that the first hour leaves."""

import nbformat
import pytest
from ipykernel.kernelspec import write_kernel_spec
from nbclient import NotebookClient

from docs_site.checks.conftest import DOCS, SMALLER


@pytest.mark.parametrize("path", sorted((DOCS / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem)
def test_a_notebook_runs(path, folder, environment, tmp_path, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    write_kernel_spec(str(tmp_path / "kernels" / "python3"))
    monkeypatch.setenv("JUPYTER_PATH", str(tmp_path))
    notebook = nbformat.read(path, as_version=4)
    assert not [cell for cell in notebook.cells if cell.get("outputs")], "notebooks are kept without outputs"
    for cell in notebook.cells:
        cell.source = cell.source.replace("experiment=first_steps", SMALLER)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    failed = [text for cell in notebook.cells for text in _printed(cell) if "Error" in text]
    assert not failed, "a command of a cell ended with an error"


def _printed(cell):
    return [output["text"] for output in cell.get("outputs", []) if output["output_type"] == "stream"]
