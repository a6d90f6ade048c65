"""Shapes on a page: trees with ties, grids, tables.

The room knows no diagrams. An object's own `_repr_*_` lives with the object and hands plain positions,
cells or strings to this room, which needs nothing but the standard library.

Conventions:
    * Nodes are numbered from 0; edges are pairs of nodes, ties are groups of them.
    * One unit is the length of a level edge or the side of a cell. x grows to the right, y downwards; TikZ,
      whose y grows upwards, is given the same picture. `scale` is pixels (SVG) or centimetres (TikZ) per
      unit.
    * Time runs to the right: the root of a tree is its rightmost node and drawn as a ring, other nodes as
      dots. A loose end has neither.
    * Edges are thin and black. A tie of k nodes is k − 1 thick gray strokes underneath, and its nodes wear
      a halo of the same gray; ties of one picture differ in shade and dashes.
    * A grid has rows n downwards and columns t to the right, both from 0; the cells in use are shaded.
    * A picture is deterministic, self-contained, and stands on a white panel, so that it reads on light and
      dark pages alike. Every part of an SVG names itself in `data-kind`.
    * HTML holds pictures as images (`svg_image`) with an alternative text, which untrusted notebooks show as well.

Example:
    >>> from taylorsgd.display import TreeDrawing, layout_tree, tree_svg
    >>> parents, ties = (-1, 0, 1, 1), ((2, 3),)
    >>> drawing = TreeDrawing(
    ...     positions=layout_tree(parents, ties),
    ...     edges=tuple((v, p) for v, p in enumerate(parents) if p >= 0),
    ...     ties=ties,
    ...     roots=(0,),
    ... )
    >>> tree_svg(drawing)[:4]
    '<svg'
"""

from taylorsgd.display.grids import Placement, grid_svg, grid_tikz
from taylorsgd.display.images import svg_image
from taylorsgd.display.layouts import layout_tree
from taylorsgd.display.tables import Raw, html_table, text_table
from taylorsgd.display.trees import TreeDrawing, tree_svg, tree_tikz

__all__ = [
    "Placement", "Raw", "TreeDrawing", "grid_svg", "grid_tikz", "html_table", "layout_tree", "svg_image",
    "text_table", "tree_svg", "tree_tikz",
]  # fmt: skip
