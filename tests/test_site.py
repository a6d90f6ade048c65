"""The site: its reference has every public name, its code runs, and its pages are what the navigation says.

(1) Every name in `__all__` of the package and of its rooms stands in the reference, once, and in its table of names
(2) whatever looks like code on the site or in the README is run: sessions by the doctests, pages of examples and
    commands by tests, and what is left is listed here with who runs it
(3) every page is in the navigation, and every file it names is there
(4) the README's pictures are there, and the citation file names the version
"""

from __future__ import annotations

import importlib
import re
import shlex
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
import yaml

import taylorsgd as ts
from taylorsgd.cli import main

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted(DOCS.rglob("*.md"))]
ROOMS = (
    "diagrams", "spacetime", "updates", "formulas", "landscapes", "descent", "flows", "measuring", "lowering",
    "regularizing", "datasets", "reproducing", "display",
)  # fmt: skip
CONFIGURATION = yaml.load((ROOT / "mkdocs.yml").read_text("utf-8"), Loader=yaml.BaseLoader)


def named(path: str) -> Any:
    """The object of a full name, through modules and attributes."""
    module, _, name = path.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except AttributeError:
        return importlib.import_module(path)


def written() -> list[str]:
    return [
        name
        for page in sorted((DOCS / "reference").glob("*.md"))
        for name in re.findall(r"^::: (\S+)$", page.read_text("utf-8"), re.MULTILINE)
    ]


def test_the_reference_has_every_public_name_once() -> None:
    public = [f"taylorsgd.{name}" for name in ts.__all__ if name != "landscapes"]
    for room in ROOMS:
        public += [f"taylorsgd.{room}.{name}" for name in importlib.import_module(f"taylorsgd.{room}").__all__]
    described = Counter(id(named(name)) for name in written())
    assert [name for name in public if id(named(name)) not in described] == []
    assert set(described.values()) == {1}
    table = (DOCS / "reference" / "index.md").read_text("utf-8")
    assert re.findall(r"\]\[([^\]]+)\]", table) == sorted(written(), key=table.index) and len(written()) > 150


# -- code ----------------------------------------------------------------------------------------------------

BY_HAND = {
    "pip install . && taylorsgd demo": "tests/test_cli.py runs the demo, .ci/run the installation",
    "pip install '.[test]' && pytest": ".ci/run",
    "pip install '.[docs]' && mkdocs build --strict": ".ci/run",
    "pip install -e '.[test]'": ".ci/run, but for -e",
    "pytest": ".ci/run",
    "ruff check . && ruff format --check . && pyright": ".ci/run",
    "pre-commit install": "what it installs is in .pre-commit-config.yaml",
    "pip install .": ".ci/run",
    "taylorsgd demo": "tests/test_cli.py",
    "mkdocs serve": "the same site as mkdocs build",
    "jupyter execute --inplace notebooks/*.ipynb": "tests/test_notebooks.py, with the same library",
    "XLA_FLAGS=--xla_force_host_platform_device_count=8 taylorsgd demo": "tests/measuring/test_devices.py has devices",
}
"""Commands that take too long here, or change the machine, and who runs them."""
SKETCHES = {
    "howto/devices.md": "tests/measuring/test_devices.py runs two processes",
    "howto/large-models.md": "the doctest of principal_components",
}
"""Pages with a block that is no session of its own, and who runs it."""


def blocks(page: Path) -> list[tuple[str, str]]:
    """The fenced blocks of a page: their language and text."""
    return re.findall(r"^```([^\n`]*)\n(.*?)^```", page.read_text("utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_block_of_code_is_run(page: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = page.read_text("utf-8")
    name = page.relative_to(DOCS).as_posix() if page.is_relative_to(DOCS) else page.name
    for language, block in blocks(page):
        match language.split()[0] if language else "":
            case "pycon":  # the doctests run it, if a blank line ends it
                assert block.startswith(">>> ") and block.endswith("\n\n"), block
            case "python":
                assert name == "extending.md", "tests/test_docs.py runs these; elsewhere write a session"
            case "py":
                assert name in SKETCHES
            case "sh":
                for line in filter(None, block.splitlines()):
                    command = line.partition("  #")[0].strip()
                    if command in BY_HAND:
                        continue
                    program, *words = shlex.split(command)
                    assert program == "taylorsgd" and main(words) == 0, command
            case kind:
                assert kind == "text" and ">>>" not in block, (name, kind)
    assert "\n    >>>" not in text


def test_commands_in_the_text_of_the_readme(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    commands = re.findall(
        r"`taylorsgd ((?:derive|diagrams|reproduce --list)[^`]*)`", (ROOT / "README.md").read_text("utf-8")
    )
    assert len(commands) >= 4
    for command in commands:
        words = [str(tmp_path) if word == "figures" else word for word in shlex.split(command)]
        assert main(words) == 0 and capsys.readouterr().out


# -- pages ---------------------------------------------------------------------------------------------------


def test_every_page_is_in_the_navigation() -> None:
    def pages(entry: Any) -> list[str]:
        if isinstance(entry, str):
            return [entry]
        values = entry.values() if isinstance(entry, dict) else entry
        return [page for value in values for page in pages(value)]

    found = [path.relative_to(DOCS).as_posix() for path in DOCS.rglob("*.md")]
    found += [f"notebooks/{path.stem}.md" for path in (ROOT / "notebooks").glob("*.ipynb")]
    assert sorted(pages(CONFIGURATION["nav"])) == sorted(found)
    assert CONFIGURATION["strict"] == "true"


def test_pictures_are_there_and_small() -> None:
    for page in PAGES:
        for target in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", page.read_text("utf-8")):
            picture = page.parent / target
            assert picture.stat().st_size < 300_000, (page, target)


def test_the_citation_names_the_version() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text("utf-8"))
    assert citation["version"] == ts.__version__ and citation["cff-version"] == "1.2.0"
    assert f"taylorsgd {ts.__version__}" in (ROOT / "README.md").read_text("utf-8")
    assert (ROOT / "CHANGELOG.md").read_text("utf-8").startswith(f"# Changelog\n\n## {ts.__version__}\n")
