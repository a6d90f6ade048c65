"""Public names that are loaded when first asked for, so that the symbolic half never waits for JAX, and their list."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

__all__ = ["listing", "loader"]


def loader(package: str, modules: Mapping[str, str], rooms: str = "") -> Callable[[str], Any]:
    """Make a module's `__getattr__` from a table of modules and the names that they define.

    Args:
        package: the module's `__name__`.
        modules: for every module the public names to load from it, with blanks between them.
        rooms: the modules of the package that may be asked for by their names, with blanks between them.

    Returns:
        A function to be bound to `__getattr__` at the top of the module.
    """
    home = {name: module for module, names in modules.items() for name in names.split()}

    known = set(rooms.split())

    def load(name: str) -> Any:
        if name in known:
            return import_module(f"{package}.{name}")
        if name not in home:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(home[name]), name)

    return load


def listing(package: str) -> Callable[[], list[str]]:
    """Make a module's `__dir__`: its public names, loaded or not, and what Python gives every module.

    Args:
        package: the module's `__name__`.

    Returns:
        A function to be bound to `__dir__` at the top of the module.
    """

    def names() -> list[str]:
        module = vars(sys.modules[package])
        return sorted({*module["__all__"], *(name for name in module if name.startswith("__"))})

    return names
