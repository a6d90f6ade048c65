"""What a diagram says in words: which update acts on which, and what noise its parts need.

A node that is no root is an update along −∇l_x of its training point x; an edge takes its effect to a later node,
whose loss is differentiated once more for it. The root is what is observed.
"""

from __future__ import annotations

from collections.abc import Sequence

from taylorsgd.diagrams import Diagram
from taylorsgd.diagrams.tensor_network import LOSS, TensorNetwork, is_open

__all__ = ["derivative_words", "noise_words", "told"]

_LETTERS = "abcdefghijklmnopqrstuvwxyz"


def derivative_words(degree: int, of: str = "l") -> str:
    """The name of a derivative.

    Example:
        >>> derivative_words(2), derivative_words(4, "s")
        ('Hessian ∇∇l', '4th derivative ∇∇∇∇s')
    """
    named = {0: "value", 1: "gradient", 2: "Hessian", 3: "third derivative"}.get(degree, f"{degree}th derivative")
    return f"{named} {'∇' * degree}{of}"


def told(diagram: Diagram, marks: Sequence[str]) -> str:
    """One sentence on what happens in a diagram.

    Args:
        diagram: the diagram.
        marks: what its roots carry, in their order: "" for the loss, "@0" for a displacement, an observable's name.

    Example:
        >>> print(told(Diagram((-1, 0, 0)), [""]))
        updates a and b along -∇l together change the loss through its Hessian ∇∇l
    """
    order = _in_time(diagram)
    name = {node: _LETTERS[i % 26] + "'" * (i // 26) for i, node in enumerate(order)}
    said: list[str] = []
    for node in order:
        if diagram.children[node]:
            through = derivative_words(diagram.degree(node))
            causes = _causes(diagram, node, name, earlier=True)
            said.append(f"{causes} the gradient of a later update {name[node]} through the {through}")
    for position, (root, mark) in enumerate(zip(diagram.roots, marks, strict=True)):
        what = _observed(mark, position, len(diagram.roots))
        count = len(diagram.children[root])
        if not count:
            said.append(f"{what} stands at its value before any update")
        elif is_open(mark):
            (child,) = diagram.children[root]
            who = name[child] if diagram.children[child] else f"update {name[child]} along -∇l"
            said.append(f"{who} is what moves θ{_which(position, len(diagram.roots))}")
        else:
            through = derivative_words(count, mark or "l")
            said.append(f"{_causes(diagram, root, name, earlier=False)} {what} through its {through}")
    for block in diagram.blocks:
        inner = [name[node] for node in block if diagram.parents[node] >= 0]
        rooted = len(inner) < len(block)
        if len(inner) > 1:
            said.append(f"{_listed(sorted(inner))} use the same training point")
        if rooted and inner:
            said.append(f"the loss that is observed is that of the training point of {_listed(sorted(inner))}")
        elif rooted and len(block) > 1:
            said.append("both losses that are observed are those of one training point")
    return "; ".join(said)


def _in_time(diagram: Diagram) -> list[int]:
    """The nodes that are no roots, each after those that act on it."""
    order: list[int] = []

    def visit(node: int) -> None:
        for child in diagram.children[node]:
            visit(child)
        if diagram.parents[node] >= 0:
            order.append(node)

    for root in diagram.roots:
        visit(root)
    return order


def _causes(diagram: Diagram, node: int, name: dict[int, str], *, earlier: bool) -> str:
    """Who acts on a node, and the verb; updates that nothing acts on are introduced here."""
    children = sorted(diagram.children[node], key=lambda child: name[child])
    new = [child for child in children if not diagram.children[child]]
    known = [name[child] for child in children if diagram.children[child]]
    words = []
    if new:
        kind = "earlier " if earlier else ""
        article = "an " if earlier else ""
        letters = _listed([name[child] for child in new])
        words.append(
            f"{article}{kind}update {letters} along -∇l" if len(new) == 1 else f"{kind}updates {letters} along -∇l"
        )
    if known:
        words.append(_listed(known))
    return f"{' and '.join(words)} {'changes' if len(children) == 1 else 'together change'}"


def _observed(mark: str, position: int, count: int) -> str:
    what = "the loss" if mark == LOSS else "the displacement" if is_open(mark) else f"the observable {mark}"
    return what + _which(position, count)


def _which(position: int, count: int) -> str:
    return "" if count == 1 else f" ({'first' if position == 0 else 'second'} of the pair)"


def _listed(words: Sequence[str]) -> str:
    *most, last = words
    return f"{', '.join(most)} and {last}" if most else last


def noise_words(value: TensorNetwork) -> list[str]:
    """What fluctuates together in a value, part by part; nothing for one that full-batch noiseless descent has.

    Example:
        >>> from taylorsgd.diagrams import Value
        >>> noise_words(Value((-1, 0, 0), (0, 1, 1)))
        ['the covariance C of the gradients at one point']
    """
    said = []
    for block in value.blocks:
        if len(block) == 1:
            continue
        degrees = sorted(value.degrees[node] for node in block)
        of = " and ".join(f"{degrees.count(degree)} × {derivative_words(degree)}" for degree in sorted(set(degrees)))
        if value.moments:
            said.append(f"the joint moment at one point of {of}")
        elif degrees == [1, 1]:
            said.append("the covariance C of the gradients at one point")
        elif degrees == [1, 1, 1]:
            said.append("the third cumulant S of the gradients at one point: skewness")
        elif len(degrees) == 2:
            words = [derivative_words(degree) for degree in degrees]
            said.append(f"the covariance at one point of its {words[0]} and its {words[1]}")
        else:
            said.append(f"the joint cumulant at one point of {of}")
    return said
