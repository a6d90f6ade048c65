"""A formula as the source of a Python function that stands alone: NumPy or JAX, dense tensors, einsum.

A plain value is one einsum. A resummed one is contracted in an eigenbasis of H, V^T H V = diag(λ), with the sum over
times as a tensor with one index for each edge: the product over branches, of the sum over the orderings of a branch's
events, of divided differences (`timesums.closed_forms`), which come from one small bidiagonal matrix and so need no
division: coinciding and vanishing eigenvalues are no exception.
"""

from __future__ import annotations

import keyword
import re
import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from string import ascii_letters
from typing import cast

from sympy import Expr, Integer, oo, sstr
from sympy.printing.numpy import NumPyPrinter

from taylorsgd import symbols
from taylorsgd.arguments import is_one_of
from taylorsgd.diagrams.tensor_network import TensorNetwork, is_open
from taylorsgd.formulas.resummed_value import ResummedValue, is_resummed
from taylorsgd.formulas.term import Combination, Term
from taylorsgd.timesums.closed_forms import chains_of
from taylorsgd.timesums.events import TimeSum
from taylorsgd.updates import Descent
from taylorsgd.writing.sympy_form import tensor_name

__all__ = ["python_source"]

BACKENDS = {"numpy": ("np", "numpy"), "jax": ("jnp", "jax.numpy")}
"""The name of the array module in the source, and what it is imported from."""
RESERVED = {"np", "jnp", "loss", "total", "lam", "V", "einsum", "divided", "exponential", "sums"}

POWERS = '''
def divided(nodes, updates):
    """The divided difference of y**updates at some nodes: a corner of a power of one bidiagonal matrix (Opitz)."""
    nodes = np.stack(np.broadcast_arrays(*nodes), axis=-1)
    above = np.eye(nodes.shape[-1], k=1)
    matrix = nodes[..., None] * np.eye(nodes.shape[-1]) + above
    return np.linalg.matrix_power(matrix, updates)[..., 0, -1]
'''
EXPONENTIALS = '''
def divided(nodes, time):
    """The divided difference of exp(time*y) at some nodes: a corner of exp(time*M) of one bidiagonal matrix (Opitz)."""
    nodes = np.stack(np.broadcast_arrays(*nodes), axis=-1)
    above = np.eye(nodes.shape[-1], k=1)
    return exponential(time * (nodes[..., None] * np.eye(nodes.shape[-1]) + above))[..., 0, -1]


def exponential(matrix):
    """The exponential of small matrices: a Taylor polynomial, scaled and squared."""
    size = float(np.max(np.sum(np.abs(matrix), axis=-1)))
    halvings = 0
    while size > 0.5:
        size, halvings = size / 2, halvings + 1
    small = matrix / 2**halvings
    result = term = np.broadcast_to(np.eye(matrix.shape[-1]), matrix.shape)
    for k in range(1, 18):
        term = term @ small / k
        result = result + term
    for _ in range(halvings):
        result = result @ result
    return result
'''


def python_source(formula: Combination, backend: str, name: str) -> str:
    """The source of a formula; see `Formula.to_python`."""
    if not is_one_of(backend, BACKENDS):
        raise ValueError(f"backend={backend!r} is unknown; it must be 'numpy' or 'jax'")
    if not isinstance(name, str):
        raise TypeError(f"name={name!r} must be a text: a Python name, such as 'expected_loss'")
    if not name.isidentifier() or keyword.iskeyword(name) or name in RESERVED:
        raise ValueError(f"name={name!r} can't name the function; give another Python name, such as 'expected_loss'")
    return _Source(formula, backend, name).text()


class _Source:
    """Writes one function."""

    def __init__(self, formula: Combination, backend: str, name: str) -> None:
        if formula.indices and not formula.terms:
            raise ValueError("to_python: this formula is 0, and no tensor in it says of how many parameters")
        self.formula, self.name = formula, name
        self.module, self.imported = BACKENDS[backend]
        self.printer = NumPyPrinter({"fully_qualified_modules": True, "strict": True})
        self.resummed = [term.value for term in formula.terms if is_resummed(term.value)]
        for value in self.resummed:
            _refuse(value, formula)
        sizes = {symbol for term in formula.terms for symbol in term.free_symbols}
        self.sizes = sorted(self._written(symbol) for symbol in sizes)
        self.has_eta = formula.rate == symbols.eta and any(term.order for term in formula.terms)
        self.shapes = self._shapes()

    def text(self) -> str:
        """The whole source."""
        helpers = ""
        if any(value.T is not oo for value in self.resummed):
            kinds = {value.continuous for value in self.resummed}
            if len(kinds) > 1:
                raise NotImplementedError("to_python: discrete and continuous sums in one formula; write one each")
            helpers = EXPONENTIALS if kinds.pop() else POWERS
        if helpers:
            helpers = helpers.replace("np.", f"{self.module}.") + "\n"
        precision = ', precision="highest"' if self.module == "jnp" else ""
        einsum = f'\ndef einsum(subscripts, *tensors):\n    """Contract tensors."""\n    return {self.module}.einsum('
        helpers = f"{einsum}subscripts, *tensors{precision})\n\n" + helpers
        return f"import {self.imported} as {self.module}\n\n{helpers}\n{self._function()}"

    # -- the function -----------------------------------------------------------------------------------

    def _function(self) -> str:
        tensors, keywords = [*self.shapes], [*(["eta"] if self.has_eta else []), *self.sizes]
        arguments = ", ".join([*tensors, *(["*", *keywords] if keywords else [])])
        lines = [f"def {self.name}({arguments}):", *self._docstring()]
        lines += [f"    {size} = 1.0 * {size}" for size in self.sizes]
        if self.resummed:
            lines += self._eigenbasis()
        lines.append("    total = 0.0")
        for term in self.formula.terms:
            lines += self._term(term)
        return "\n".join([*lines, "    return total", ""])

    def _docstring(self) -> list[str]:
        axes = "PP" if self.formula.indices == 2 else "P" * self.formula.indices
        result = f"an array of shape ({', '.join(axes)}{',' if len(axes) == 1 else ''})" if axes else "a number"
        said = [f"The formula\n\n{_wrapped(str(self.formula), 8)}\n\nas {result}."]
        said.append("Tensors at the starting point, P the number of parameters:")
        for tensor, shape in self.shapes.items():
            sides = ", ".join("P" * shape) + ("," if shape == 1 else "")
            said.append(f"    {tensor}: " + (f"shape ({sides})" if shape else "a number"))
        for spacetime in self.formula.spacetimes:
            derived = [f"{size} = {sstr(value)}" for size, value in spacetime.sizes.items() if str(value) != size]
            said.append(f"Of {spacetime}" + (f", where {', '.join(derived)}." if derived else "."))
        if any(value.T is oo for value in self.resummed):
            said.append("H must be positive definite.")
        body = "\n".join(said).replace("\\", "\\\\")
        first, *rest = body.split("\n")
        return [f'    """{first}', *(f"    {line}".rstrip() for line in rest), '    """']

    def _eigenbasis(self) -> list[str]:
        """The tensors of resummed values in the eigenbasis of H, with a _ behind their names."""
        lines = [f"    lam, V = {self.module}.linalg.eigh(H)"]
        used = {name: size for value in self.resummed for name, size, _ in self._operands(value) if size}
        for name, size in sorted(used.items()):
            inner, outer = ascii_letters[:size], ascii_letters[size : 2 * size]
            script = ",".join([inner, *(a + b for a, b in zip(inner, outer, strict=True))]) + "->" + outer
            lines.append(f'    {name}_ = einsum("{script}", {name}{", V" * size})')
        return lines

    def _term(self, term: Term) -> list[str]:
        scale = [] if term.coefficient == 1 else [self._written(term.coefficient)]
        if self.has_eta and term.order:
            scale.append("eta" if term.order == 1 else f"eta**{term.order}")
        scale = [f"({part})" if re.search(r"[ +\-]", part) else part for part in scale]
        lines = [f"    # {f'the diagram {term.value.diagram}' if is_resummed(term.value) else term.value}"]
        if is_resummed(term.value):
            lines += self._sums(term.value)
        lines.append(f"    total = total + {' * '.join([*scale, self._contracted(term.value)])}")
        return lines

    def _contracted(self, value: TensorNetwork) -> str:
        """A value as an einsum."""
        operands = [
            (name if not is_resummed(value) or not size else f"{name}_", own)
            for name, size, own in self._operands(value)
        ]
        free = "".join(ascii_letters[self._edge(value, node)] for node in value.open_indices)
        if is_resummed(value):
            operands.append(("sums", ascii_letters[: value.order]))
            for place, letter in enumerate(free):
                operands.append(("V", ascii_letters[value.order + place] + letter))
            free = ascii_letters[value.order : value.order + len(free)]
        elif self.formula.metric is not None:
            operands, free = self._raised(value, operands, free)
        numbers = [name for name, own in operands if not own]
        tensors = [(name, own) for name, own in operands if own]
        if tensors:
            script = f"{','.join(own for _, own in tensors)}->{free}"
            numbers.append(f'einsum("{script}", {", ".join(name for name, _ in tensors)})')
        return " * ".join(numbers) or "1.0"

    def _raised(
        self, value: TensorNetwork, operands: list[tuple[str, str]], free: str
    ) -> tuple[list[tuple[str, str]], str]:
        """A metric on every edge: the second end of each gets a letter of its own."""
        metric = self.formula.metric
        if callable(metric):
            raise NotImplementedError("to_python: a metric that is a function has no source here; use lower()")
        rows = ", ".join("[" + ", ".join(map(self._written, row)) + "]" for row in metric.tolist())  # type: ignore[union-attr]
        seen = set(free)
        found = []
        for name, own in operands:
            letters = ""
            for letter in own:
                letters += ascii_letters[ascii_letters.index(letter) + value.order] if letter in seen else letter
                seen.add(letter)
            found.append((name, letters))
        own = f"{self.module}.array([{rows}])"
        found += [(own, ascii_letters[e] + ascii_letters[e + value.order]) for e in range(value.order)]
        return found, free

    # -- sums over times --------------------------------------------------------------------------------

    def _sums(self, value: ResummedValue) -> list[str]:
        """The sum over times, an array with one axis for every edge."""
        along = ["None"] * value.order

        def rate(e: int) -> str:
            axes = ", ".join(":" if i == e else place for i, place in enumerate(along))
            return f"lam[{axes}]" if value.order > 1 else "lam"

        branches = []
        for _, labels, own in cast(TimeSum, value.times).branches:
            chains = [
                self._chain(chain, [labels[e] for e in range(len(labels))], value)
                for chain in chains_of(own, value.continuous)
            ]
            branches.append(f"({' + '.join(chains)})")
        eta = "eta * " if self.formula.rate == symbols.eta else ""
        lines = [f"    s{e} = {eta}{rate(e)}" for e in range(value.order)]
        return [*lines, f"    sums = {branches[0]}", *(f"    sums = sums * {branch}" for branch in branches[1:])]

    def _chain(self, chain: Sequence[Sequence[int]], labels: Sequence[int], value: ResummedValue) -> str:
        spans = Counter(e for interval in chain for e in interval)
        if value.continuous:
            gaps = [" + ".join(f"s{labels[e]}" for e in interval) for interval in chain]
            if value.T is oo:
                return "1 / " + _bracketed(" * ".join(f"({gap})" for gap in gaps))
            return f"divided([0.0 * s{labels[0]}, {', '.join(f'-({gap})' for gap in gaps)}], {self._written(value.T)})"
        spanned = [f"(1 - s{labels[e]}) ** {span - 1}" for e, span in spans.items() if span > 1]
        if value.T is oo:
            gaps = [f"({_gap([labels[e] for e in interval])})" for interval in chain]
            return " * ".join([*spanned, "1 / " + _bracketed(" * ".join(gaps))])
        alive = [" * ".join(f"(1 - s{labels[e]})" for e in interval) for interval in chain]
        updates = f"int(round({self._written(value.T)}))"
        return " * ".join([*spanned, f"divided([1.0 + 0.0 * s{labels[0]}, {', '.join(alive)}], {updates})"])

    # -- names ------------------------------------------------------------------------------------------

    def _operands(self, value: TensorNetwork) -> Iterable[tuple[str, int, str]]:
        """For every tensor its name, how many axes it has, and the letters of its edges."""
        for block in value.blocks:
            mark = value.marks[block[0]]
            if is_open(mark):
                continue
            nodes = sorted(block, key=lambda node: value.degrees[node])
            degrees = tuple(value.degrees[node] for node in nodes)
            plain = tensor_name(mark, degrees, value.moments and len(nodes) > 1)
            name = "loss" if (mark, degrees) == ("", (0,)) else self._identifier(plain)
            edges = [e for node in nodes for e, ends in enumerate(value.edges) if node in ends]
            yield name, len(edges), "".join(ascii_letters[e] for e in edges)

    def _edge(self, value: TensorNetwork, node: int) -> int:
        return next(e for e, ends in enumerate(value.edges) if node in ends)

    def _shapes(self) -> dict[str, int]:
        """The tensors that the formula takes, with their numbers of axes: small ones first."""
        found = {"H": 2} if self.resummed else {}
        for term in self.formula.terms:
            found |= {name: size for name, size, _ in self._operands(term.value)}
        return {name: found[name] for name in sorted(found, key=lambda name: (found[name], name))}

    def _identifier(self, name: str) -> str:
        clean = re.sub(r"\W", "_", name)
        taken = {*self.sizes, *RESERVED, "eta", self.name}
        return f"{clean}_observed" if clean in taken or keyword.iskeyword(clean) or clean[0].isdigit() else clean

    def _written(self, expression: Expr | int) -> str:
        try:
            written = str(self.printer.doprint(Integer(expression) if isinstance(expression, int) else expression))
        except NotImplementedError as error:
            raise NotImplementedError(f"to_python: the coefficient {expression} has no source: {error}") from error
        return written.replace("numpy.", f"{self.module}.")


def _gap(edges: Sequence[int]) -> str:
    """1 − Π(1 − s), without a difference of numbers near 1."""
    first, *rest = edges
    return f"s{first} + (1 - s{first}) * ({_gap(rest)})" if rest else f"s{first}"


def _bracketed(text: str) -> str:
    return f"({text})"


def _wrapped(text: str, indent: int) -> str:
    return textwrap.fill(text, 100, initial_indent=" " * indent, subsequent_indent=" " * indent, break_long_words=False)


def _refuse(value: ResummedValue, formula: Combination) -> None:
    """Raise for sums over times without a closed form."""
    if formula.metric is not None or value.drift:
        what = "a drift" if value.drift else "a resummed formula with a matrix learning rate"
        raise NotImplementedError(f"to_python: {what} has no source here; use lower() or evaluate()")
    if not isinstance(value.times, TimeSum) or value.update != Descent():
        raise NotImplementedError(
            f"to_python: the term of {value.diagram}: a sum over cells, several epochs or with memory has no source "
            "here; use lower()"
        )
