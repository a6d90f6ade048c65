"""Tiny folders of images in the formats of CIFAR-10 and MNIST, and experiments run at a size of one's own."""

from __future__ import annotations

import csv
import gzip
import json
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure

from taylorsgd.reproducing import Outcome, load_experiment, run_experiment
from taylorsgd.reproducing.verdicts import Verdict


def records(count: int, side: int = 32) -> bytes:
    """CIFAR-10 records: random pixels, brighter where the label is larger, so that there is something to learn."""
    random = np.random.default_rng(0)
    labels = np.arange(count, dtype=np.uint8) % 10
    pixels = np.clip(random.normal(20 + 22 * labels[:, None], 15, (count, 3 * side * side)), 0, 255)
    return np.concatenate([labels[:, None], pixels.astype(np.uint8)], axis=1).tobytes()


@pytest.fixture
def cifar10(tmp_path: Path) -> Path:
    """100 images in two files, and 20 to test on."""
    folder = tmp_path / "cifar"
    folder.mkdir()
    for name, count in (("data_batch_1.bin", 60), ("data_batch_2.bin", 40), ("test_batch.bin", 20)):
        (folder / name).write_bytes(records(count))
    return folder


def idx(array: np.ndarray) -> bytes:
    return bytes([0, 0, 8, array.ndim]) + np.array(array.shape, ">u4").tobytes() + array.astype(np.uint8).tobytes()


@pytest.fixture
def fashion(tmp_path: Path) -> Path:
    """30 and 10 images of 4 × 6 pixels, some of the files compressed."""
    folder = tmp_path / "fashion"
    folder.mkdir()
    for prefix, count in (("train", 30), ("t10k", 10)):
        images = np.arange(count * 24).reshape(count, 4, 6) % 256
        (folder / f"{prefix}-images-idx3-ubyte.gz").write_bytes(gzip.compress(idx(images), mtime=0))
        (folder / f"{prefix}-labels-idx1-ubyte").write_bytes(idx(np.arange(count) % 10))
    return folder


def run(name: str, output: Path, data: Path | None = None, **changes: Any) -> tuple[Outcome, list[str]]:
    settings = replace(load_experiment(name).sizes["quick"], **changes)
    said: list[str] = []
    return run_experiment(name, output=output, data=data, settings=settings, say=said.append), said


@pytest.fixture(scope="session")
def run_small() -> Callable[..., tuple[Outcome, list[str]]]:
    """A function of an experiment, a folder and what differs from its quick settings: outcome, and what it said."""
    return run


PNG = b"\x89PNG"
"""How such a file begins."""


@pytest.fixture
def drawn_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures are drawn, as SVG: to lay them out, and to draw them as PNG, shows no more and takes twice as long."""
    draw = Figure.savefig

    def savefig(figure: Figure, file: Any, format: str, **options: Any) -> None:
        if format == "png":
            file.write(PNG)
        else:
            draw(figure, file, format=format, **options)

    monkeypatch.setattr(Figure, "savefig", savefig)
    monkeypatch.setattr(Figure, "draw_without_rendering", lambda figure: None)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures are made and not drawn, for tests of the numbers beside them."""
    monkeypatch.setattr(Figure, "savefig", lambda figure, file, **options: file.write(b"a picture"))
    monkeypatch.setattr(Figure, "draw_without_rendering", lambda figure: None)


def left_files(name: str, folder: Path, outcome: Outcome) -> dict[str, Any]:
    (stem,) = {path.stem for path in folder.glob("*.csv")}
    ends = (".csv", ".json", ".png", ".svg", ".run.json")
    assert stem.startswith(name) and {path.name for path in folder.iterdir()} == {f"{stem}{end}" for end in ends}
    assert (folder / f"{stem}.png").read_bytes().startswith(PNG)
    ElementTree.parse(folder / f"{stem}.svg")
    with (folder / f"{stem}.csv").open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == len(outcome.table) > 0
    took = json.loads((folder / f"{stem}.run.json").read_text(encoding="utf-8"))
    assert took["seconds"] > 0 and took["processor seconds"] > 0 and "core" in took["machine"]
    content = json.loads((folder / f"{stem}.json").read_text(encoding="utf-8"))
    assert content["agrees"] == outcome.agrees
    assert [finding["agrees"] for finding in content["findings"]] == [f.agrees for f in outcome.findings]
    assert all(finding["verdict"] in set(Verdict) for finding in content["findings"])
    assert [not finding["reason"] for finding in content["findings"]] == [
        finding["verdict"] == Verdict.AGREES for finding in content["findings"]
    ]
    assert set(content["settings"]) == {field.name for field in fields(load_experiment(name).sizes["quick"])}
    return content


@pytest.fixture(scope="session")
def check_files() -> Callable[..., dict[str, Any]]:
    """A function that checks the four files of an outcome in a folder, and returns the verdict."""
    return left_files


def errata_shown(name: str, output: Path, wrong: set[str], right: set[str], **changes: Any) -> None:
    outcome, _ = run(name, output, **changes)
    with (output / f"{name}.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    verdicts = {row["where"]: row["the printed one is right"] for row in rows}
    assert {where for where, verdict in verdicts.items() if verdict == "False"} == wrong
    assert {where for where, verdict in verdicts.items() if verdict == "True"} == right
    *printed, derived = outcome.findings
    assert derived.source == "control" and derived.agrees, derived.found
    assert len(printed) == len(rows) and not outcome.agrees


@pytest.fixture(scope="session")
def check_errata() -> Callable[..., None]:
    """A function that runs an experiment on mistakes, and checks which of them it finds."""
    return errata_shown
