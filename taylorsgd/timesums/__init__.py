r"""Sums over the times of a diagram's nodes: one object behind every coefficient and every resummed value.

    events      which nodes share a time, and the edges that say what comes before what: a `TimeSum`
    clock       what times there are: T updates, a flow's [0, T], or the cells of a run (`cells`)
    kernel      what an edge from t to t′ carries: 1; r_t; c A^{t′−t−1} b of a rule's memory; K^{t′−t−1}, K = I − ηH
    arithmetic  exact polynomials in the sizes; exact numbers and matrices; SymPy; JAX (in `lowering`)

Every sum is a walk through the `lattice` of down-sets, the sets of events that may have happened by some time:

    kernel 1, T updates          Σ_k s_k C(T, k), s_k the chains of k steps from ∅ to all: `orders`
    … and a flow                 linear extensions · T^k/k!
    in closed form               over chains of down-sets, divided differences of x^T, of e^{Ty}: `closed_forms`
    update by update             state(I ∪ S) += choices(S, t) · advance(state(I)), exactly: `walking`
    T → ∞                        each state is left by a resolvent, (1 − ⊗ K)^{−1} or (Σ ηH)^{−1}: `walking`

Un-resummed is the kernel 1 and resummed the kernel K; nothing else tells them apart.
"""
