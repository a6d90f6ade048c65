"""The house: which room may know which, what an import loads, and what every public name owes its reader.

Checked on the source:
    (1) a module imports only its own room and rooms above it; display knows no other room at all
    (2) the conveniences that reach down import inside a function, and are listed here
    (3) the symbolic rooms never import JAX; the first room that does is lowering
    (4) `import taylorsgd` loads neither JAX nor networkx, nor anything else that is slow
    (5) every public name exists, and has a docstring
    (6) no module shares the name of a public function or of another module, no file is longer than 500 lines
    (7) `dir` of a package shows its public names and no others, and tab completion does
    (8) the files import each other without a circle, imports in functions and for type checkers included
"""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import networkx as nx
import pytest
from IPython.core.completer import IPCompleter, provisionalcompleter

import taylorsgd

ROOMS = (
    "display",
    "writing",
    "diagrams",
    "timesums",
    "spacetime",
    "updates",
    "formulas",
    "flows",
    "lowering",
    "landscapes",
    "measuring",
    "regularizing",
    "datasets",
    "descent",
    "demo",
    "reproducing",
    "cli",
    "__main__",
)
"""From the top of the house down: data flows from left to right."""
COMMON = ("symbols", "_lazy", "forks", "arguments", "exact_numbers", "whole_files", "device_arrays")
"""Modules at the root that every room may know, and each of them those before it."""
REACHING_DOWN = {
    ("formulas/formula.py", "effective_flow", "flows"),
    ("formulas/formula.py", "lower", "lowering"),
    ("flows/calculus.py", "_lowered", "regularizing"),
} | {
    ("landscapes/__init__.py", how, room)
    for how in (None, "TYPE_CHECKING")
    for room in ("measuring", "regularizing", "datasets")
}
"""(file, function, room): the conveniences that import a room further down, and names that were landscapes' once.

These stand in a table of names that are loaded when first asked for, and no file of a room below asks the package
`taylorsgd.landscapes` for anything."""
WITHOUT_JAX = ("display", "diagrams", "spacetime", "formulas", "flows")
ROOT = Path(taylorsgd.__file__).parent
FILES = sorted(path for path in ROOT.rglob("*.py") if path != ROOT / "__init__.py")

Import = tuple[str, str | None]
"""What is imported, and the function that it is imported in (or "TYPE_CHECKING": never at run time)."""


def imports(path: Path) -> Iterator[Import]:
    """All imports of a file by full name, with the function around them."""
    package = ["taylorsgd", *path.relative_to(ROOT).parts[:-1]]

    def visit(node: ast.AST, function: str | None) -> Iterator[Import]:
        for child in ast.iter_child_nodes(node):
            inside = child.name if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)) else function
            if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
                inside = "TYPE_CHECKING"
            if isinstance(child, ast.Import):
                yield from ((alias.name, inside) for alias in child.names)
            elif isinstance(child, ast.ImportFrom):
                base = package[: len(package) + 1 - child.level] if child.level else []
                name = ".".join([*base, *([child.module] if child.module else [])])
                # `from taylorsgd import symbols` names a module only in the alias
                yield from ((f"{name}.{alias.name}", inside) for alias in child.names)
            elif isinstance(child, ast.Constant) and re.fullmatch(r"taylorsgd(\.\w+)+", str(child.value)):
                yield str(child.value), inside  # in a table of names that are loaded when first asked for
            yield from visit(child, inside)

    yield from visit(ast.parse(path.read_text(encoding="utf-8")), None)


def room_of(name: str) -> str | None:
    """The room that a full module name belongs to, None for other packages and the common modules."""
    first, *rest = name.split(".")
    if first != "taylorsgd" or not rest or rest[0] in COMMON:
        return None
    return rest[0]


def home(path: Path) -> str:
    return path.relative_to(ROOT).parts[0].removesuffix(".py")


def shown(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def test_every_room_is_on_the_list() -> None:
    assert {home(path) for path in FILES} <= {*ROOMS, *COMMON}


@pytest.mark.parametrize("path", FILES, ids=shown)
def test_a_room_knows_only_rooms_above_it(path: Path) -> None:
    if home(path) in COMMON:
        known = COMMON[: COMMON.index(home(path))]
        own = [name.split(".")[1] for name, _ in imports(path) if name.split(".")[0] == "taylorsgd"]
        assert set(own) <= set(known)
        return
    floor = ROOMS.index(home(path))
    for name, function in imports(path):
        room = room_of(name)
        if room is not None and ROOMS.index(room) > floor:
            assert (shown(path), function, room) in REACHING_DOWN, f"{shown(path)} imports {name} from below"
    if home(path) == "display":
        assert {room_of(name) for name, _ in imports(path)} <= {None, "display"}


def test_what_reaches_down_exists() -> None:
    """The list of exceptions holds nothing that is no longer true."""
    found = {
        (shown(path), function, room_of(name))
        for path in FILES
        for name, function in imports(path)
        if room_of(name) is not None
    }
    assert found >= REACHING_DOWN


@pytest.mark.parametrize("path", [path for path in FILES if home(path) in WITHOUT_JAX], ids=shown)
def test_the_symbolic_half_does_not_touch_jax(path: Path) -> None:
    # spacetimes draw batches for simulations, and import JAX when they are asked to
    packages = {name.split(".")[0] for name, function in imports(path) if function != "draw"}
    assert not packages & {"jax", "jaxlib", "jaxtyping", "equinox", "optax", "diffrax"}
    if home(path) in ("display", "diagrams"):
        assert "sympy" not in packages


@pytest.mark.parametrize("path", FILES, ids=shown)
def test_slow_packages_are_imported_inside_functions(path: Path) -> None:
    """lowering itself is only imported when a number is asked for."""
    if home(path) == "lowering":
        return
    at_once = {name.split(".")[0] for name, function in imports(path) if function is None}
    if not loads_with_the_package(path):
        return
    assert not at_once & {"jax", "networkx", "matplotlib", "scipy", "sklearn"}, shown(path)


def loads_with_the_package(path: Path) -> bool:
    return module_name(path) in loaded_modules("import taylorsgd")


def module_name(path: Path) -> str:
    return ".".join(["taylorsgd", *path.relative_to(ROOT).with_suffix("").parts]).removesuffix(".__init__")


def test_no_file_imports_itself_by_a_detour() -> None:
    """A room's `__init__` counts where it is named; the package's own is a table of names, and left out."""
    graph = nx.DiGraph()
    files = {module_name(path): path for path in FILES}
    for name, path in files.items():
        for imported, _ in imports(path):
            target = imported if imported in files else imported.rpartition(".")[0]
            if target in files:
                graph.add_edge(name, target)
    circles = [sorted(part) for part in nx.strongly_connected_components(graph) if len(part) > 1]
    assert circles == []
    assert list(nx.selfloop_edges(graph)) == []


def test_no_two_modules_share_a_name() -> None:
    """A room is a module as well: its name is that of its folder."""
    names: dict[str, list[str]] = {}
    for path in FILES:
        names.setdefault(module_name(path).rpartition(".")[2], []).append(shown(path))
    assert [files for files in names.values() if len(files) > 1] == []


def loaded_modules(statement: str) -> set[str]:
    if statement not in _LOADED:
        code = f"import sys\n{statement}\nprint(' '.join(sys.modules))"
        output = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
        _LOADED[statement] = set(output.stdout.split())
    return _LOADED[statement]


_LOADED: dict[str, set[str]] = {}


def test_an_import_stays_light() -> None:
    """How long it takes is measured by benchmarks/deriving.py; here is what it loads."""
    assert "sympy" not in {name.split(".")[0] for name in loaded_modules("import taylorsgd")}
    loaded = {name.split(".")[0] for name in loaded_modules("import taylorsgd as ts; ts.SGD, ts.derive")}
    assert "sympy" in loaded
    assert not loaded & {"jax", "jaxlib", "networkx", "numpy", "scipy", "matplotlib", "sklearn", "rich"}


def test_deriving_stays_light() -> None:
    statement = "import taylorsgd as ts; str(ts.derive(ts.TrainLoss(), ts.SGD(), order=2))"
    assert not {name.split(".")[0] for name in loaded_modules(statement)} & {"jax", "networkx", "matplotlib"}


def modules() -> Iterator[ModuleType]:
    yield taylorsgd
    for info in pkgutil.walk_packages(taylorsgd.__path__, "taylorsgd."):
        yield importlib.import_module(info.name)


MODULES = list(modules())


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_every_public_name_is_documented(module: ModuleType) -> None:
    assert (module.__doc__ or "").strip(), f"{module.__name__} has no docstring"
    for name in getattr(module, "__all__", ()):
        thing = getattr(module, name)
        if isinstance(thing, (type, ModuleType)) or callable(thing):
            assert (getattr(thing, "__doc__", None) or "").strip(), f"{module.__name__}.{name} has no docstring"
        if isinstance(thing, type) and thing.__module__.startswith("taylorsgd"):
            undocumented = [member for member in public_members(thing) if not documented(thing, member)]
            assert not undocumented, f"{name} has members without a docstring: {undocumented}"


def public_members(kind: type) -> list[str]:
    return [
        name
        for name, value in vars(kind).items()
        if not name.startswith("_") and (callable(value) or isinstance(value, (property, classmethod, staticmethod)))
    ]


def documented(kind: type, name: str) -> bool:
    """Its own docstring, or that of the method which it overrides."""
    attributes: list[Any] = [vars(base)[name] for base in kind.__mro__ if name in vars(base)]
    return any((getattr(attribute, "__doc__", None) or "").strip() for attribute in attributes)


@pytest.mark.parametrize("path", FILES, ids=shown)
def test_public_constants_are_documented(path: Path) -> None:
    """A constant in __all__ is followed by a string that says what it is."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    exported = {name for node in body for name in exports(node)}
    defined = {node.name for node in body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
    for node, following in zip(body, [*body[1:], None], strict=True):
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        names = {leaf.id for target in targets for leaf in ast.walk(target) if isinstance(leaf, ast.Name)}
        for name in names & exported - defined:
            is_text = (
                isinstance(following, ast.Expr)
                and isinstance(following.value, ast.Constant)
                and isinstance(following.value.value, str)
            )
            assert is_text or path.name == "symbols.py", f"{shown(path)}: {name} has no docstring below it"


def exports(node: ast.stmt) -> list[str]:
    if isinstance(node, ast.Assign) and any(isinstance(t, ast.Name) and t.id == "__all__" for t in node.targets):
        return [str(name) for name in ast.literal_eval(node.value)]
    return []


def test_no_module_shares_a_public_functions_name() -> None:
    functions = {
        node.name
        for path in FILES
        for node in ast.parse(path.read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_")
    }
    names = {path.parent.name if path.stem == "__init__" else path.stem for path in FILES}
    assert functions & names == set()


@pytest.mark.parametrize("path", FILES, ids=shown)
def test_files_are_short(path: Path) -> None:
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 500


LAZY = [module for module in MODULES if "__getattr__" in vars(module)]


@pytest.mark.parametrize("module", LAZY, ids=lambda module: module.__name__)
def test_dir_shows_the_public_names_and_nothing_else(module: ModuleType) -> None:
    names = dir(module)
    assert [name for name in names if not name.startswith("__")] == sorted(module.__all__)
    assert {"__doc__", "__file__", "__name__", "__path__"} <= set(names)


def test_every_package_that_loads_late_lists_what_it_loads() -> None:
    assert {module.__name__ for module in LAZY} >= {"taylorsgd"} | {
        f"taylorsgd.{room}"
        for room in ("landscapes", "measuring", "regularizing", "datasets", "descent", "reproducing")
    }
    fresh = "import taylorsgd as ts; print(*(n for n in dir(ts) if not n.startswith('_')))"
    shown = subprocess.run([sys.executable, "-c", fresh], capture_output=True, text=True, check=True).stdout.split()
    assert shown == sorted(taylorsgd.__all__), "before anything is loaded"
    assert "__version__" in dir(taylorsgd)


@pytest.mark.parametrize("jedi", [False, True])
def test_tab_completes_the_public_names_and_nothing_else(jedi: bool) -> None:
    completer = IPCompleter(namespace={"ts": taylorsgd}, use_jedi=jedi)
    with provisionalcompleter():
        found = {
            completion.text.removeprefix("ts.").removeprefix(".") for completion in completer.completions("ts.", 3)
        }
    assert {name for name in found if not name.startswith("_")} == set(taylorsgd.__all__)


def test_the_public_names_are_flat() -> None:
    assert sorted(taylorsgd.__all__) == sorted(set(taylorsgd.__all__))
    for name in taylorsgd.__all__:
        assert hasattr(taylorsgd, name)
    for name in ("SGD", "GD", "ODE", "SDE", "Grid", "TestLoss", "TrainLoss", "GeneralizationGap", "Displacement"):
        assert name in taylorsgd.__all__
    for name in ("Observable", "Covariance", "Variance", "derive", "Formula", "FiniteLandscape", "perturb"):
        assert name in taylorsgd.__all__
