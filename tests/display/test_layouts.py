"""Layouts of rooted forests: all ordered trees up to 8 nodes, all numbered forests up to 6.

A node at depth d stands at x = −d; neighbours of one depth are at least 0.8 apart; a parent is halfway
between its outer children; edges of one forest do not cross; a mirrored tree has the mirrored layout.
"""

import itertools
import math

import pytest

from taylorsgd.display import layout_tree


def trees(nodes):
    """Every rooted tree in every order of its siblings, numbered breadth first."""
    for rest in itertools.combinations_with_replacement(range(nodes), nodes - 1):
        if all(p < v for v, p in enumerate(rest, start=1)):
            yield (-1, *rest)


def forests(nodes):
    return itertools.product(*(range(-1, v) for v in range(nodes)))


def check(parents, positions):
    depth = {-1: -1}
    for v, p in enumerate(parents):
        depth[v] = depth[p] + 1
        assert positions[v][0] == -depth[v]
    levels = {}
    for v, (_, y) in enumerate(positions):
        levels.setdefault(depth[v], []).append(y)
    for ys in levels.values():
        ys.sort()
        assert all(b - a >= 0.8 - 1e-6 for a, b in itertools.pairwise(ys))
    for v in range(len(parents)):
        ys = [positions[c][1] for c, p in enumerate(parents) if p == v]
        if ys:
            assert positions[v][1] == pytest.approx((min(ys) + max(ys)) / 2, abs=1e-6)


@pytest.mark.parametrize("nodes", range(1, 9))
def test_all_rooted_trees(nodes):
    count = 0
    for parents in trees(nodes):
        positions = layout_tree(parents)
        assert positions[0] == (0.0, 0.0)
        check(parents, positions)
        count += 1
    assert count == math.comb(2 * nodes - 2, nodes - 1) // nodes  # Catalan


@pytest.mark.parametrize("nodes", range(1, 7))
def test_all_forests(nodes):
    for parents in forests(nodes):
        positions = layout_tree(parents)
        check(parents, positions)
        roots = [positions[v] for v, p in enumerate(parents) if p == -1]
        assert all(x == 0.0 == max(x for x, _ in positions) for x, _ in roots)
        assert [y for _, y in roots] == sorted(y for _, y in roots)
        assert roots[0][1] + roots[-1][1] == pytest.approx(0.0, abs=1e-6)


def crosses(p, q, r, s):
    def turn(a, b, c):
        value = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
        return 0 if abs(value) < 1e-9 else math.copysign(1, value)

    return turn(p, q, r) * turn(p, q, s) < 0 and turn(r, s, p) * turn(r, s, q) < 0


@pytest.mark.parametrize("nodes", [5, 6])
def test_edges_do_not_cross(nodes):
    for parents in forests(nodes):
        positions = layout_tree(parents)
        edges = [(positions[v], positions[p]) for v, p in enumerate(parents) if p >= 0]
        assert not any(crosses(*e, *f) for e, f in itertools.combinations(edges, 2))


def test_symmetric_trees_have_symmetric_layouts():
    # root with two large subtrees and two leaves between them: the leaves have room and keep to the middle
    parents = (-1, 0, 0, 0, 0, 1, 1, 1, 1, 4, 4, 4, 4)
    positions = layout_tree(parents)
    ys = [positions[v][1] for v in (1, 2, 3, 4)]
    assert ys == pytest.approx([-y for y in reversed(ys)])
    assert ys == pytest.approx([-1.6, -0.4, 0.4, 1.6])


def test_mirror_image():
    for parents in trees(6):
        # reverse the order of siblings by a breadth-first numbering from the last child on
        children = {v: [c for c, p in enumerate(parents) if p == v] for v in range(6)}
        order = [0]
        for v in order:
            order += reversed(children[v])
        new = {v: i for i, v in enumerate(order)}
        mirrored = layout_tree([-1 if parents[v] < 0 else new[parents[v]] for v in order])
        plain = layout_tree(parents)
        for v in range(6):
            assert mirrored[new[v]] == pytest.approx((plain[v][0], -plain[v][1]), abs=1e-6)


def test_ties_bring_siblings_together():
    plain = layout_tree((-1, 0, 0, 0, 0))
    tied = layout_tree((-1, 0, 0, 0, 0), ties=((1, 3), (2, 4)))
    assert sorted(plain) == sorted(tied)
    assert abs(tied[1][1] - tied[3][1]) == pytest.approx(0.8)
    assert abs(tied[2][1] - tied[4][1]) == pytest.approx(0.8)


def test_ties_keep_the_order_of_roots_and_a_good_layout():
    for parents in trees(6):
        for pair in itertools.combinations(range(6), 2):
            check(parents, layout_tree(parents, ties=(pair,)))
    assert layout_tree((-1, -1), ties=((0, 1),)) == ((0.0, -0.4), (0.0, 0.4))


def test_no_nodes():
    assert layout_tree(()) == ()


@pytest.mark.parametrize(
    ("parents", "message"),
    [
        ((-1, 2, 1), "its own ancestor"),
        ((0,), "its own ancestor"),
        ((1, -1), r"parents\[0\] = 1: a parent comes before its child"),
        ((-1, 5), r"parents\[1\] = 5: a parent is −1 or a node, 0 to 1"),
        ((-2,), r"parents\[0\] = -2"),
    ],
)
def test_bad_parents(parents, message):
    with pytest.raises(ValueError, match=message):
        layout_tree(parents)


def test_tie_of_a_node_that_does_not_exist():
    with pytest.raises(ValueError, match="there is no node 7, only 0 to 1"):
        layout_tree((-1, 0), ties=((1, 7),))
