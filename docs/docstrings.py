"""What Griffe is told of this package's docstrings and classes before the reference is written."""

from __future__ import annotations

import importlib
import inspect
import re
from typing import Any

import griffe

KINDS = {
    inspect.Parameter.POSITIONAL_ONLY: griffe.ParameterKind.positional_only,
    inspect.Parameter.POSITIONAL_OR_KEYWORD: griffe.ParameterKind.positional_or_keyword,
    inspect.Parameter.VAR_POSITIONAL: griffe.ParameterKind.var_positional,
    inspect.Parameter.KEYWORD_ONLY: griffe.ParameterKind.keyword_only,
    inspect.Parameter.VAR_KEYWORD: griffe.ParameterKind.var_keyword,
}


class House(griffe.Extension):
    """One example is a section like several; a class that attrs writes has the signature that attrs gives it."""

    def on_instance(self, *, obj: griffe.Object | griffe.Alias, **others: Any) -> None:
        """Sections are called Examples, whatever their number."""
        if not obj.is_alias and obj.docstring:
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)

    def on_class(self, *, cls: griffe.Class, **others: Any) -> None:
        """Give a class without an `__init__` in its source the one that it has."""
        if "__init__" in cls.members or not any("frozen" in str(d.value) for d in cls.decorators):
            return
        found = getattr(importlib.import_module(cls.module.path), cls.name)
        parameters = [
            griffe.Parameter(
                name,
                kind=KINDS[parameter.kind],
                default=None if parameter.default is parameter.empty else _written(parameter.default),
            )
            for name, parameter in inspect.signature(found).parameters.items()
        ]
        own = griffe.Parameter("self", kind=griffe.ParameterKind.positional_or_keyword)
        cls.set_member("__init__", griffe.Function("__init__", parameters=griffe.Parameters(own, *parameters)))


def _written(default: Any) -> str:
    """A default as it stands in a signature; a factory of attrs as dots."""
    return "..." if repr(default).startswith("<") else repr(default)
