"""What a diagram evaluates to: a tensor network that forgets which plain node was the root.

A value is a forest of *unrooted* trees whose nodes are partitioned. A node of degree k carries ∇^k l_x,
a part carries the joint cumulant (or, on request, the joint moment) of its nodes, an edge carries η. Some
nodes are marked: an open index of a displacement, or a derivative of an observable other than the loss.
Diagrams with isomorphic networks have equal values, and a formula adds up their coefficients.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

from taylorsgd.diagrams.diagram import Diagram
from taylorsgd.diagrams.symmetry import Code, best_colouring, children_of, restricted_growth, rooted_code

__all__ = ["LOSS", "Value", "open_index", "side_by_side", "value_of"]

LOSS = ""
"""The mark of an ordinary node, which carries derivatives of l_x."""


def open_index(position: int) -> str:
    """The mark of the open index of the observable in the given position (0 or 1)."""
    return f"@{position}"


class Value:
    """A tensor network: trees of derivatives of l_x, contracted along edges, averaged part by part.

    Args:
        parents: the parent of every node (−1 starts a new tree); which node is the root plays no role.
        parts: a label for every node's part; by default every node is alone.
        marks: for every node what it carries: "" for derivatives of l_x, "@0" or "@1" for an open index
            (a node of degree 1), any other name for derivatives of that observable.
        moments: whether parts stand for joint moments instead of joint cumulants.

    Raises:
        ValueError: if a marked node is tied or an open index has not exactly one edge.

    Example:
        >>> ghg = Value((-1, 0, 1))
        >>> ghg == Value((-1, 0, 0))      # G·H·G, whichever node was the root
        True
        >>> print(ghg)
        G_μ H^μ_ν G^ν
    """

    __slots__ = ("__dict__", "_hash", "marks", "moments", "parents", "parts")

    parents: tuple[int, ...]
    """The parent of every node when each tree hangs from its centre, numbered depth first."""
    parts: tuple[int, ...]
    """The part of every node, numbered by first appearance."""
    marks: tuple[str, ...]
    """What every node carries."""
    moments: bool
    """Whether parts are moments rather than cumulants."""

    def __init__(
        self,
        parents: Sequence[int],
        parts: Sequence[object] | None = None,
        marks: Sequence[str] | None = None,
        *,
        moments: bool = False,
    ) -> None:
        """Put the network into canonical form."""
        labels = restricted_growth(range(len(parents)) if parts is None else parts)
        names = [LOSS] * len(parents) if marks is None else list(marks)
        neighbours = children_of(parents)
        for node, parent in enumerate(parents):
            if parent >= 0:
                neighbours[node].append(parent)
        _check_marks(names, labels, neighbours)
        trees = _components(neighbours)
        centres = [_centres(tree, neighbours) for tree in trees]

        def surroundings(sizes: Sequence[int]) -> list[Code]:
            keys = list(zip(names, sizes, strict=True))
            return [rooted_code(neighbours, keys, node) for node in range(len(parents))]

        def code(colours: Sequence[int]) -> tuple[Code, ...]:
            keys = list(zip(names, colours, strict=True))
            codes = [min(rooted_code(neighbours, keys, centre) for centre in pair) for pair in centres]
            return tuple(sorted(codes))

        best, _, _ = best_colouring(labels, surroundings, code)
        self.parents, self.parts, self.marks = _unfold(best)
        self.moments = moments and len(set(self.parts)) < len(self.parts)  # a single part has one meaning
        self._hash = hash((self.parents, self.parts, self.marks, self.moments))

    @property
    def order(self) -> int:
        """The number of edges: the power of η that the value holds."""
        return sum(parent >= 0 for parent in self.parents)

    @cached_property
    def degrees(self) -> tuple[int, ...]:
        """The number of edges at every node."""
        degrees = [0] * len(self.parents)
        for node, parent in enumerate(self.parents):
            if parent >= 0:
                degrees[node] += 1
                degrees[parent] += 1
        return tuple(degrees)

    @cached_property
    def edges(self) -> tuple[tuple[int, int], ...]:
        """The edges as pairs (child, parent)."""
        return tuple((node, parent) for node, parent in enumerate(self.parents) if parent >= 0)

    @cached_property
    def blocks(self) -> tuple[tuple[int, ...], ...]:
        """The parts as tuples of nodes."""
        blocks: list[list[int]] = [[] for _ in range(max(self.parts) + 1)]
        for node, part in enumerate(self.parts):
            blocks[part].append(node)
        return tuple(map(tuple, blocks))

    @cached_property
    def open_indices(self) -> tuple[int, ...]:
        """The nodes with an open index, in the order of the observables that left them open."""
        return tuple(
            sorted((n for n, m in enumerate(self.marks) if m.startswith("@")), key=lambda n: self.marks[n])
        )

    @property
    def sort_key(self) -> tuple[object, ...]:
        """Powers of η first, then from few ties to many: from the noiseless terms to the noisiest."""
        return (self.order, 0, -len(self.blocks), self.parents, self.parts, self.marks, self.moments)

    def __eq__(self, other: object) -> bool:
        """Equal when the networks are isomorphic."""
        if not isinstance(other, Value):
            return NotImplemented
        return self._hash == other._hash and self.sort_key == other.sort_key

    def __lt__(self, other: Value) -> bool:
        """Order by `sort_key`."""
        return self.sort_key < other.sort_key  # type: ignore[operator]

    def __hash__(self) -> int:
        """Hash the canonical form."""
        return self._hash

    def __setattr__(self, name: str, value: object) -> None:
        """Refuse to change a finished value."""
        if hasattr(self, "_hash"):
            raise AttributeError(f"a Value is frozen: {name} can't be set")
        super().__setattr__(name, value)

    def __reduce__(self) -> tuple[object, ...]:
        """Pickle through the constructor."""
        return _restore, (self.parents, self.parts, self.marks, self.moments)

    def __repr__(self) -> str:
        """The constructor call."""
        arguments = [repr(self.parents), repr(self.parts)]
        if any(self.marks):
            arguments.append(repr(self.marks))
        if self.moments:
            arguments.append("moments=True")
        return f"Value({', '.join(arguments)})"

    def __str__(self) -> str:
        """Index notation in plain text."""
        from taylorsgd.writing.notation import value_text

        return value_text(self)

    def latex(self) -> str:
        """Index notation in LaTeX, with the paper's named tensors; η raises indices."""
        from taylorsgd.writing.notation import value_latex

        return value_latex(self)

    def _repr_latex_(self) -> str:
        return f"$\\displaystyle {self.latex()}$"


def value_of(diagram: Diagram, root_marks: Sequence[str] = (LOSS,), *, moments: bool = False) -> Value:
    """Forget the root of a diagram, keeping what it carries.

    Args:
        diagram: the diagram.
        root_marks: what each root carries: "" for the loss, an open index, or an observable's name.
        moments: whether the parts stand for moments.

    Returns:
        The value that the diagram evaluates to.
    """
    marks = [LOSS] * len(diagram.parents)
    for root, mark in zip(diagram.roots, root_marks, strict=True):
        marks[root] = mark
    return Value(diagram.parents, diagram.parts, marks, moments=moments)


def side_by_side(left: Value, right: Value) -> Value:
    """The product of the values of two observables: the open index of the second becomes "@1".

    Example:
        >>> force = Value((-1, 0), marks=("@0", ""))
        >>> print(side_by_side(force, force))
        G^μ G^ν
    """
    shift = len(left.parents)
    parents = [*left.parents, *(p if p < 0 else p + shift for p in right.parents)]
    parts = [*((0, part) for part in left.parts), *((1, part) for part in right.parts)]
    renamed = [open_index(1) if mark == open_index(0) else mark for mark in right.marks]
    return Value(parents, parts, [*left.marks, *renamed], moments=left.moments or right.moments)


def _restore(
    parents: tuple[int, ...], parts: tuple[int, ...], marks: tuple[str, ...], moments: bool
) -> Value:
    return Value(parents, parts, marks, moments=moments)


def _check_marks(marks: Sequence[str], labels: Sequence[int], neighbours: Sequence[Sequence[int]]) -> None:
    for node, mark in enumerate(marks):
        if mark == LOSS:
            continue
        if labels.count(labels[node]) > 1:
            raise ValueError(
                f"marks: node {node} carries {mark!r} and can't be tied; only nodes of the loss can"
            )
        if mark.startswith("@") and len(neighbours[node]) != 1:
            raise ValueError(
                f"marks: the open index {mark!r} needs exactly one edge, not {len(neighbours[node])}"
            )


def _components(neighbours: Sequence[Sequence[int]]) -> list[list[int]]:
    seen: set[int] = set()
    trees = []
    for start in range(len(neighbours)):
        if start not in seen:
            tree = [start]
            seen.add(start)
            for node in tree:  # grows while it is read: a breadth-first walk
                fresh = [other for other in neighbours[node] if other not in seen]
                seen.update(fresh)
                tree.extend(fresh)
            trees.append(tree)
    return trees


def _centres(tree: Sequence[int], neighbours: Sequence[Sequence[int]]) -> list[int]:
    """The one or two middle nodes of a tree, found by taking leaves away (Jordan 1869)."""
    degree = {node: len(neighbours[node]) for node in tree}
    remaining = set(tree)
    while len(remaining) > 2:
        leaves = [node for node in remaining if degree[node] <= 1]
        remaining.difference_update(leaves)
        for leaf in leaves:
            for node in neighbours[leaf]:
                degree[node] -= 1
    return sorted(remaining)


def _unfold(codes: tuple[Code, ...]) -> tuple[tuple[int, ...], tuple[int, ...], tuple[str, ...]]:
    parents: list[int] = []
    labels: list[object] = []
    marks: list[str] = []

    def visit(code: Code, parent: int) -> None:
        node = len(parents)
        (mark, colour), *below = code
        parents.append(parent)
        labels.append(colour or ("alone", node))
        marks.append(mark)
        for child in below:
            visit(child, node)

    for code in codes:
        visit(code, -1)
    return tuple(parents), restricted_growth(labels), tuple(marks)
