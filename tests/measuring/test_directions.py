"""Plans of contractions along eigendirections: what must be independent, and what is differentiated how often.

1. The pieces of every share hold every node once, and every cut edge twice.
2. Tied nodes share a point; different parts, and different means over fresh points, never share any.
"""

import pytest

from taylorsgd.measuring.directions import split

CHAIN = ((-1, 0, 1, 2), (0, 1, 0, 1), ("",) * 4)
DIAGRAMS = [
    CHAIN,
    ((-1, 0, 0, 0), (0, 0, 0, 0), ("",) * 4),
    ((-1, 0, 1, 1), (0, 1, 2, 1), ("", "", "", "")),
    ((-1, 0, -1, 2), (0, 1, 2, 1), ("", "", "s", "")),
]


def nodes_of(message):
    """The messages of a node and of those behind it."""
    yield message
    for incoming in message.incoming:
        yield from nodes_of(incoming)


@pytest.mark.parametrize("diagram", DIAGRAMS, ids=range(len(DIAGRAMS)))
@pytest.mark.parametrize("fresh", [False, True])
def test_every_node_once_and_every_cut_edge_twice(diagram, fresh):
    plan = split(diagram, fresh=fresh, rest=True)
    assert all(share.pieces for share in plan)
    assert len({share.cut for share in plan}) == 2 ** (len(diagram[0]) - diagram[0].count(-1))
    for share in plan:
        nodes = [one for piece in share.pieces for message in piece.messages for one in nodes_of(message)]
        assert len(nodes) == len(diagram[0])
        ends = [e for piece in share.pieces for e in piece.edges]
        assert sorted(ends) == sorted([*share.cut, *share.cut])


@pytest.mark.parametrize("diagram", DIAGRAMS, ids=range(len(DIAGRAMS)))
def test_means_over_fresh_points_are_independent(diagram):
    plan = split(diagram, fresh=True, rest=True)
    most, slots = 0, set()
    for share in plan:
        nodes = [one for piece in share.pieces for message in piece.messages for one in nodes_of(message)]
        means = [mean for one in nodes for mean in (one.centre or (one,))]
        places = [mean.source.slot for mean in means if mean.source.kind == "batch"]
        assert len(places) == len(set(places))
        most = max(most, len(places))
        slots |= {one.source.slot for one in nodes if one.source.kind == "point"}
    if diagram == CHAIN:
        assert most == 2 and slots == {0, 1}  # both inner nodes receive from tied ends


def test_two_open_indices_are_refused():
    with pytest.raises(NotImplementedError, match="two open indices"):
        split(((-1, 0, -1, 2), (0, 1, 2, 1), ("@0", "", "@1", "")), fresh=True, rest=True)
