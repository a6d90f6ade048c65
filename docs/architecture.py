"""Write docs/architecture.md and docs/architecture.svg: the rooms of the package, and which imports which.

    python docs/architecture.py            # write the page and its picture
    python docs/architecture.py --check    # exit with 1 if the page is not what the code says

Rooms, their one-line purposes and the arrows between them are read from the source. In the picture data flows
downwards; an arrow that follows from others (a → b → c makes a → c) is left out.
"""

from __future__ import annotations

import argparse
import ast
import sys
from pathlib import Path

import networkx as nx

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "taylorsgd"
PAGE, PICTURE = ROOT / "docs" / "architecture.md", ROOT / "docs" / "architecture.svg"
TEXT = """# How the house is built

This page and its picture are written by `python docs/architecture.py` from the source.

Data flows one way, from the top of the picture to its bottom; a room imports only rooms above it, and
`tests/test_house.py` checks that, and that no files import each other in a circle.

![The rooms of the package](architecture.svg)

A formula is one sum, Σ over diagrams × placements × times, in three steps that know nothing of each other:

1. `diagrams` lists the trees with tied nodes, and what each evaluates to (a `Value`, merged over roots).
2. A spacetime says how a diagram may be placed in it: pairs of a count and a `TimeSum`, the events that its nodes
   make and what must come before what (`placements` in symbols, `ways` for runs of numbers).
3. `timesums` sums over the times of events with what the update rule puts on the edges: 1, a rate, a memory, or, for
   a resummed formula, powers of K = I − ηH.

`derive` is the loop over these; un-resummed the sum over times goes into the coefficient, resummed it stays in
the value. `lowering` evaluates the same sums in JAX, `measuring` finds the values on a loss, `descent` runs what the
formulas describe, from the definitions alone (`histories` of a spacetime, `step` of a rule).

| room | what is in it | imports |
|---|---|---|
"""


def rooms() -> nx.DiGraph[str]:
    """The rooms with their purposes, and an arrow from each to those that import it."""
    graph: nx.DiGraph[str] = nx.DiGraph()
    for folder in sorted(PACKAGE.iterdir()):
        if (folder / "__init__.py").exists():
            purpose = (ast.get_docstring(ast.parse((folder / "__init__.py").read_text("utf-8"))) or "").split("\n")[0]
            graph.add_node(folder.name, purpose=purpose.rstrip("."))
    for room in graph:
        for path in (PACKAGE / room).rglob("*.py"):
            if path.name == "__init__.py" and path.parent.parent == PACKAGE:
                continue  # re-exports old spellings
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                for name in names:
                    other = name.split(".")[1] if name.startswith("taylorsgd.") else ""
                    if other in graph and other != room and not _reaches_down(room, other):
                        graph.add_edge(other, room)
    return graph


def _reaches_down(room: str, other: str) -> bool:
    """The conveniences that tests/test_house.py lists: methods that import a room further down when called."""
    return (room, other) in {("formulas", "flows"), ("formulas", "lowering")}


def written(graph: nx.DiGraph[str]) -> str:
    """The page, in Markdown."""
    rows = [
        f"| `{room}` | {graph.nodes[room]['purpose']} | {', '.join(sorted(graph.predecessors(room))) or '—'} |"
        for room in nx.lexicographical_topological_sort(graph)
    ]
    return TEXT + "\n".join(rows) + "\n"


def draw(graph: nx.DiGraph[str]) -> None:
    """The picture: rooms on floors, one below all that it imports."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": "taylorsgd"})
    import matplotlib.pyplot as plt

    floors = list(nx.topological_generations(graph))
    figure, axes = plt.subplots(figsize=(9, 1.05 * len(floors)))
    place = {}
    for y, floor in enumerate(floors):
        for x, room in enumerate(sorted(floor)):
            place[room] = ((x + 0.5) / len(floor) - 0.5, -y)
    for above, below in nx.transitive_reduction(graph).edges:
        (x, y), (_, end) = place[above], place[below]
        bend = 0.0 if y - end < 1.5 else -0.35 if x > 0 else 0.35  # around the rooms between
        arrow = {"arrowstyle": "-|>", "color": "0.6", "shrinkA": 17, "shrinkB": 24, "linewidth": 0.8}
        axes.annotate("", xy=place[below], xytext=(x, y), arrowprops=arrow | {"connectionstyle": f"arc3,rad={bend}"})
    for room, (x, y) in place.items():
        box = {"boxstyle": "round,pad=0.35", "facecolor": "white", "edgecolor": "0.3"}
        axes.text(x, y, room, ha="center", va="center", fontsize=12, bbox=box)
    axes.set(xlim=(-0.55, 0.55), ylim=(-len(floors) + 0.4, 0.6))
    axes.axis("off")
    figure.savefig(PICTURE, bbox_inches="tight", metadata={"Date": None})


def main() -> int:
    """Write or check the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="only say whether the page is up to date")
    check = parser.parse_args().check
    graph = rooms()
    page = written(graph)
    if check:
        if PAGE.read_text("utf-8") == page:
            return 0
        print("docs/architecture.md is not what the code says; run python docs/architecture.py", file=sys.stderr)
        return 1
    PAGE.write_text(page, encoding="utf-8")
    draw(graph)
    return 0


if __name__ == "__main__":
    sys.exit(main())
