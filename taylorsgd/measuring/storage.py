"""Arrays with a description, on disk: NumPy's npz with a JSON header, written whole or not at all.

What a value is goes into the header as structure (parents, parts, marks); nothing in a file is ever evaluated.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import jax
import numpy as np

from taylorsgd.arguments import checked_path
from taylorsgd.diagrams import Value
from taylorsgd.landscapes.fingerprints import Fingerprint
from taylorsgd.landscapes.point_functions import fingerprint_bytes
from taylorsgd.whole_files import whole_file

__all__ = [
    "Checkpoint", "decoded_tree", "decoded_value", "digest", "encoded_tree", "encoded_value", "read_arrays",
    "versions", "write_arrays",
]  # fmt: skip

HEADER = "header"


def write_arrays(
    path: str | Path,
    kind: str,
    header: Mapping[str, Any],
    arrays: Mapping[str, Any],
    fingerprint: Fingerprint | None = None,
) -> None:
    """Write a file: under another name first, so that an interruption leaves the old one; a link stays a link.

    Raises:
        ValueError: if there is something at the path that is no file.
    """
    known = {} if fingerprint is None else {"fingerprint": fingerprint.to_json()}
    text = json.dumps({"taylorsgd": kind, **header, **known})
    entries: dict[str, Any] = {name: np.asarray(array) for name, array in arrays.items()}
    with whole_file(path) as file:
        np.savez(file, **{HEADER: np.frombuffer(text.encode(), np.uint8)}, **entries)  # type: ignore[arg-type]


def read_arrays(path: str | Path, kind: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """Read a file of `write_arrays`.

    Raises:
        TypeError: if it is no path.
        FileNotFoundError: if there is none.
        ValueError: if it is damaged, or of another kind.
    """
    path = checked_path(path)
    if not path.exists():
        raise FileNotFoundError(f"there is no file {path}")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        header = json.loads(arrays.pop(HEADER).tobytes().decode())
        found = header["taylorsgd"]
    except (KeyError, ValueError, TypeError, EOFError, OSError, zipfile.BadZipFile) as error:
        raise ValueError(f"{path} is damaged, or no file of taylorsgd: {error!r}") from error
    if found != kind:
        raise ValueError(f"{path} holds a {found}, not a {kind}")
    return header, arrays


def versions() -> dict[str, str]:
    """The versions that numbers may depend on."""
    found = {}
    for name in ("taylorsgd", "jax", "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "run from its source"
    return found


def digest(tree: Any) -> str:
    """A fingerprint of all arrays in a pytree: their places, types, shapes and bytes."""
    found = hashlib.sha256()
    for place, leaf in jax.tree_util.tree_flatten_with_path(tree)[0]:
        array = leaf if hasattr(leaf, "dtype") else np.asarray(leaf)
        found.update(f"{jax.tree_util.keystr(place)} {array.dtype} {array.shape}".encode())
        found.update(fingerprint_bytes(array))
    return found.hexdigest()


def encoded_value(value: Value) -> dict[str, Any]:
    """A value as JSON structure."""
    return {"parents": value.parents, "parts": value.parts, "marks": value.marks, "moments": value.moments}


def decoded_value(data: Mapping[str, Any]) -> Value:
    """A value from its JSON structure."""
    return Value(data["parents"], data["parts"], data["marks"], moments=data["moments"])


def encoded_tree(tree: Any) -> Any:
    """The containers of a pytree of dicts, lists and tuples, with numbers for its leaves in order; else None."""
    leaves, structure = jax.tree.flatten(tree)
    numbered = jax.tree.unflatten(structure, list(range(len(leaves))))

    def encode(node: Any) -> Any:
        if isinstance(node, int):
            return node
        if type(node) is dict and all(isinstance(key, str) for key in node):
            return {"dict": {key: encode(child) for key, child in node.items()}}
        if type(node) in (list, tuple):
            return {type(node).__name__: [encode(child) for child in node]}
        raise TypeError

    try:
        return encode(numbered)
    except TypeError:
        return None


def decoded_tree(data: Any, leaves: Sequence[Any]) -> Any:
    """A pytree from its containers and leaves."""
    if isinstance(data, int):
        return leaves[data]
    if "dict" in data:
        return {key: decoded_tree(child, leaves) for key, child in data["dict"].items()}
    if "tuple" in data:
        return tuple(decoded_tree(child, leaves) for child in data["tuple"])
    return [decoded_tree(child, leaves) for child in data["list"]]


class Checkpoint:
    """The state of a long measurement on disk, after every chunk.

    Args:
        path: the file; None keeps nothing.
        settings: what the numbers depend on. A file of other settings is refused.
        fingerprint: what is measured on. A file of another loss, sampler or observable is refused.
    """

    def __init__(self, path: str | Path | None, settings: Mapping[str, Any], fingerprint: Fingerprint) -> None:
        """Keep where, and what for."""
        self.path = None if path is None else Path(path)
        if self.path is not None and not self.path.resolve().parent.is_dir():
            raise FileNotFoundError(f"checkpoint={str(path)!r}: there is no folder {self.path.resolve().parent}")
        self.settings = json.loads(json.dumps(settings))
        self.fingerprint = fingerprint

    def load(self) -> dict[str, np.ndarray] | None:
        """What was stored, or None if nothing was yet.

        Raises:
            ValueError: if the file is damaged or belongs to another measurement: it says in what they differ.
        """
        if self.path is None or not self.path.exists():
            return None
        header, arrays = read_arrays(self.path, "checkpoint")
        known = header["settings"]
        differing = [name for name in sorted({*known, *self.settings}) if known.get(name) != self.settings.get(name)]
        measured_on = Fingerprint.from_json(header.get("fingerprint"))
        if measured_on is None:
            raise ValueError(
                f"checkpoint={str(self.path)!r} does not say what loss it is of; it was written by another version, so "
                "give another path, or remove the file"
            )
        differing = list(dict.fromkeys([*differing, *measured_on.differing(self.fingerprint)]))
        if differing:
            raise ValueError(
                f"checkpoint={str(self.path)!r} belongs to another measurement: they differ in {', '.join(differing)}; "
                "give another path, or remove the file"
            )
        return arrays

    def save(self, arrays: Mapping[str, Any]) -> None:
        """Store the state; of several processes the first does."""
        if self.path is not None and jax.process_index() == 0:
            write_arrays(self.path, "checkpoint", {"settings": self.settings}, arrays, self.fingerprint)
