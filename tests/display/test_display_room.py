"""The display room: standard library only, but for what draws; every public name exported and documented."""

import ast
import inspect
import sys
from pathlib import Path

import pytest

import taylorsgd.display as room

FILES = sorted(Path(room.__file__).parent.glob("*.py"))


DRAWS = {"figures.py": {"matplotlib", "numpy"}, "progress.py": {"rich", "IPython"}}
"""What some files import when they draw, and not before (tests/test_house.py)."""


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_imports_only_the_standard_library_and_itself(path):
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names = [node.module or ""]
        for name in names:
            package = name.split(".")[0]
            own = name.startswith("taylorsgd.display") or name == "taylorsgd.arguments"  # which imports no more
            known = package in sys.stdlib_module_names or own
            assert known or package in DRAWS.get(path.name, ())


@pytest.mark.parametrize("name", room.__all__)
def test_public_names_are_documented(name):
    text = inspect.getdoc(getattr(room, name))
    assert text is not None
    assert "Args:" in text and "Example:" in text
    if inspect.isfunction(getattr(room, name)):
        assert "Returns:" in text and "Raises:" in text


def test_no_module_shares_the_name_of_a_public_function():
    assert not {path.stem for path in FILES} & set(room.__all__)
