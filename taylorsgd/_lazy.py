"""Public names that are loaded when first asked for, so that the symbolic half never waits for JAX."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any

__all__ = ["loader"]


def loader(package: str, modules: Mapping[str, str]) -> Callable[[str], Any]:
    """Make a module's `__getattr__` from a table of names and the modules that define them.

    Args:
        package: the module's `__name__`.
        modules: for every public name the module to load it from.

    Returns:
        A function to be bound to `__getattr__` at the top of the module.
    """

    def load(name: str) -> Any:
        if name not in modules:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        return getattr(import_module(modules[name]), name)

    return load
