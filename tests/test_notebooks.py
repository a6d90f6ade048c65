"""The notebooks run from top to bottom at a tiny size, draw their pictures, and are kept without outputs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
import pytest
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
PICTURES = {"image/png", "image/svg+xml", "text/html"}


def outputs(notebook: Any) -> list[Any]:
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def test_there_is_one_for_each_result() -> None:
    assert [path.stem.partition("-")[0] for path in NOTEBOOKS] == [f"{i:02d}" for i in range(1, 9)]


@pytest.fixture(scope="module")
def kernel() -> Iterator[KernelManager]:
    """One kernel: packages are imported and programs are compiled once. Each notebook begins with no name in it."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("TAYLORSGD_TINY", "1")
        environment.delenv("MPLBACKEND", raising=False)  # else pictures are drawn, but not shown
        environment.setenv("JUPYTER_PLATFORM_DIRS", "1")
        environment.setenv("PYTHONWARNINGS", "default")
        manager = KernelManager(kernel_name="python3")
        manager.start_kernel(cwd=str(ROOT))
        yield manager
        manager.shutdown_kernel(now=True)
        manager.context.destroy()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs(path: Path, kernel: KernelManager) -> None:
    """A cell that raises, or an assertion in it that fails, is an error; so is anything written as a warning."""
    notebook = nbformat.read(path, as_version=4)
    assert notebook.cells[0].cell_type == "markdown" and notebook.cells[0].source.startswith("# ")
    assert not outputs(notebook), "keep notebooks without outputs"
    assert all(cell.get("execution_count") is None for cell in notebook.cells)
    notebook.cells.insert(0, nbformat.v4.new_code_cell("%reset -f"))
    client = NotebookClient(notebook, km=kernel, timeout=170, resources={"metadata": {"path": str(ROOT)}})
    try:
        client.execute()
    finally:
        client.kc.stop_channels()
    found = outputs(notebook)
    assert not [output.text for output in found if output.get("name") == "stderr"]
    shown = {kind for output in found for kind in output.get("data", {})}
    assert shown & PICTURES
