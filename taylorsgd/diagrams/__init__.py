r"""What is summed: diagrams, their symmetries and their values. Exact; no SymPy, no JAX.

Symbols:
    D            a diagram: a rooted tree (for moments of two observables a forest with two roots) with a
                 set partition of its nodes. Edges point towards the root.
    |D|          its order, the number of its edges: the power of η that it carries.
    part         a block of the partition. Nodes of one part see the same training point. A part with one
                 node is *single*, any other is *tied* (drawn as gray ties).
    Aut D        the automorphisms of the tree that preserve the partition and fix every root.
    link         a non-root node with exactly one child that is alone in its part. A diagram without links
                 is *linkless*; resummation sums the others into it.
    value(D)     a tensor network: a node of degree k carries ∇^k l_x, a part carries the joint cumulant of
                 its nodes, an edge carries η. A root carries the observable's derivative.

Two diagrams that differ only in which plain test-loss node is called the root have the same value, so a
`Value` forgets the root. Everything is kept in a canonical form, so equality and hashing are structural.

Counts: of orders 1..6 there are 1, 4, 17, 101, 700, 5861 diagrams, and for every d

    Σ_D d! / |Aut D| = (d+1)^(d−1) · Bell(d).
"""

from taylorsgd.diagrams.counts import count_diagrams
from taylorsgd.diagrams.diagram import Diagram
from taylorsgd.diagrams.generation import diagrams_of_order, forests_of_order
from taylorsgd.diagrams.values import Value, value_of

__all__ = ["Diagram", "Value", "count_diagrams", "diagrams_of_order", "forests_of_order", "value_of"]
