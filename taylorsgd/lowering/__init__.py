r"""From exact formulas to jitted JAX functions. The first room that knows JAX.

A formula is linear in its values V_i, the tensor networks measured at θ_0:

    g(V; η, sizes) = Σ_i w_i V_i,        w_i = c_i(sizes) · η^{d_i},

with c_i an exact coefficient (rational in N, B, E, T) and d_i the order of the value. Lowering compiles the
c_i once. Learning rate, sizes and tensors are traced: new numbers never compile again, and the result can
be differentiated in each of them, batched with `jax.vmap` and exported for other machines.

Shapes: η and the sizes broadcast to one shape …; there are n values.

    weights          (…, n)
    g                (…) for scalars; (…, *leaf) for every leaf of a displacement, a pytree like θ
    contributions    (d + 1, …): the part of each order 0, 1, …, d, which adds up to g

A resummed formula is no polynomial: its edges carry powers of K = I − ηH, summed over times. It takes the
dense cumulants of the parts instead, and is evaluated in an eigenbasis of ηH (`lowering.networks`), where the
sums over times are divided differences (`lowering.eigenbasis_sums`, `lowering.divided`), with memory powers of a
block triangular matrix (`lowering.block_sums`), over epochs powers of powers (`lowering.epoch_powers`,
`lowering.epoch_blocks`), and over the cells of a run a scan (`lowering.cell_scan`): all of
them over one lattice of down-sets. Where H is known in a few directions only, it takes contractions along these
(`lowering.projected`).
"""

from taylorsgd.formulas.resummed_value import is_resummed
from taylorsgd.formulas.term import Combination
from taylorsgd.lowering.lowered import Lowered
from taylorsgd.lowering.resummed import LoweredResummed

__all__ = ["Lowered", "LoweredResummed", "lower"]


def lower(formula: Combination) -> Lowered | LoweredResummed:
    """Compile a formula to a JAX function of measured tensors; see `Formula.lower`.

    Raises:
        TypeError: if `formula` is no formula.
        NotImplementedError: for a drift.
    """
    if not isinstance(formula, Combination):
        raise TypeError(f"formula={formula!r} is not a Formula; derive() makes one")
    if any(map(is_resummed, formula.values)):
        return LoweredResummed(formula)
    return Lowered(formula)
