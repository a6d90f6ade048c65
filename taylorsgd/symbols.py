"""The symbols that every formula is written in, in one table.

`N` training points, batch size `B`, `E` epochs, hence `T = E·N/B` updates and `M = T/N = E/B` updates
per training point; `eta` is the learning rate, and `h` the step size where gradient descent is
a numerical method. `g` and `theta` are the gradient and the parameter at one coordinate, in the rules of
elementwise optimizers. They are plain SymPy symbols without assumptions, so that
`sympy.Symbol("N")` written by hand is the same symbol. Strings are never parsed into expressions:
`sympy.sympify("N")` and `sympy.sympify("E")` mean something else.

Example:
    >>> from taylorsgd.symbols import N, T
    >>> (N - 1) / N
    (N - 1)/N
"""

from sympy import Symbol

__all__ = ["B", "E", "M", "N", "T", "eta", "g", "h", "theta"]

N = Symbol("N")
B = Symbol("B")
E = Symbol("E")
T = Symbol("T")
M = Symbol("M")
eta = Symbol("eta")
h = Symbol("h")
g = Symbol("g")
theta = Symbol("theta")
