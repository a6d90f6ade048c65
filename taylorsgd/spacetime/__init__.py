r"""Where diagrams are summed: the cells (n, t) in which training point n meets update t.

Symbols:
    N, B, E      training points, batch size, epochs. T = E·N/B updates, M = T/N = E/B updates per point.
    S            a spacetime: the set of cells (n, t) with row n in the batch of update t. Every column
                 holds the same number B of cells.
    Z_S(D)       the number of embeddings of a diagram D: maps from its non-root nodes to cells of S such
                 that nodes of one part share their row, and time strictly increases along every edge
                 towards the root, which sits at T. Different parts may share a row, even a cell.

The expectation over training sets is

    E[s(θ_T)] = Σ_D  (−1)^|D| / (B^|D| |Aut D|) · Z_S(D) · value(D).

Each spacetime says how a diagram may be placed in it, in the symbols of its sizes (`placements`) or where these
are numbers (`ways`); the sums over times are those of `timesums`. With Ω(P; m) the strict order polynomial of a
poset P, Z is

    one epoch          B^#parts · Ω(poset of the parts; T), 0 if that has a cycle
    GD                 N^#parts · Ω(tree order of the nodes; T)
    many epochs        Σ over batches of the parts, then epochs of the nodes (`epochs`)
    a grid             counted cell by cell
    reshuffling        Z averaged over the orders of every epoch (`shuffling`)
    replacement        Z averaged over the batches (`replacement`)
    ODE                all parts single, linear extensions of the tree · T^d / d!
    SDE                parts of at most 2 nodes, which share one time; linear extensions · T^k / k!

Inside, a count is an exact polynomial over QQ in n = N/B, e = E, b = 1/B and c = 1/N (`RING`), or a quotient of two.
"""

from taylorsgd.spacetime.base import Spacetime
from taylorsgd.spacetime.continuous import ODE, SDE
from taylorsgd.spacetime.gd import GD
from taylorsgd.spacetime.grid import Grid
from taylorsgd.spacetime.replacement import Replacement
from taylorsgd.spacetime.sgd import SGD

__all__ = ["GD", "ODE", "SDE", "SGD", "Grid", "Replacement", "Spacetime"]
