"""Writing shapes as a plain `tikzpicture`."""

from collections.abc import Sequence

from taylorsgd.display.canvas import INKS, Box, Dot, Label, Point, Shape, Stroke, barbs, positive

__all__ = ["write_tikz"]

_POINTS_PER_CM = 28.4528

_GREEK = """α alpha β beta γ gamma δ delta ε epsilon ζ zeta η eta θ theta ι iota κ kappa λ lambda μ mu ν nu
    ξ xi π pi ρ rho σ sigma τ tau υ upsilon φ varphi χ chi ψ psi ω omega Γ Gamma Δ Delta Θ Theta Λ Lambda Ξ Xi
    Π Pi Σ Sigma Φ Phi Ψ Psi Ω Omega ∇ nabla""".split()
_TEX = {
    "\\": r"\textbackslash{}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{c: "\\" + c for c in "&%$#_{}"},
    **{c: f"${c}$" for c in "<>|"},
    **{c: rf"$\{word}$" for c, word in zip(_GREEK[::2], _GREEK[1::2], strict=True)},
    **{c: f"$_{i}$" for i, c in enumerate("₀₁₂₃₄₅₆₇₈₉")},
    **{c: f"$^{i}$" for i, c in enumerate("⁰¹²³⁴⁵⁶⁷⁸⁹")},
}
"""How TeX writes the characters of plain text that it would read as something else, or not at all."""


def write_tikz(shapes: Sequence[Shape], scale: float) -> str:
    r"""Write shapes as a `tikzpicture` that needs `\usepackage{tikz}` and no library.

    Args:
        shapes: back to front, y growing downwards (the picture turns it into TikZ's upwards).
        scale: centimetres per unit, positive.

    Returns:
        The picture, centred on the line of text that it stands in.

    Raises:
        ValueError: if `scale` is not a positive number.

    Example:
        >>> print(write_tikz([Stroke(((0.0, 0.0), (1.0, 1.0)), 0.1), Dot((0.0, 0.0), 0.5)], 1))
        \begin{tikzpicture}[x=1cm, y=1cm, baseline={([yshift=-0.6ex]current bounding box.center)}]
          \draw[black, line width=2.85pt, line cap=round] (0,0) -- (1,-1);
          \fill[black] (0,0) circle[radius=0.5];
        \end{tikzpicture}
    """
    scale = positive(scale)
    unit = f"{_number(scale)}cm"
    head = f"x={unit}, y={unit}, baseline={{([yshift=-0.6ex]current bounding box.center)}}"
    body = [f"  {_command(shape, scale)}" for shape in shapes]
    return "\n".join([rf"\begin{{tikzpicture}}[{head}]", *body, r"\end{tikzpicture}"])


def _command(shape: Shape, scale: float) -> str:
    def pt(length: float) -> str:
        return f"{length * scale * _POINTS_PER_CM:.2f}pt"

    match shape:
        case Stroke():
            style = [INKS[shape.ink][1], f"line width={pt(shape.width)}", "line cap=round"]
            if shape.dash:
                on_off = zip(("on", "off") * len(shape.dash), shape.dash, strict=False)
                style.append("dash pattern=" + " ".join(f"{word} {pt(length)}" for word, length in on_off))
            first, *middle, last = map(_at, shape.points)
            join = f".. controls {' and '.join(middle)} .." if middle else "--"
            head = "".join(f" {_at(p)} -- {last}" for p in barbs(shape)) if shape.arrow else ""
            return rf"\draw[{', '.join(style)}] {first} {join} {last}{head};"
        case Dot():
            ink = INKS[shape.ink][1]
            circle = f"{_at(shape.centre)} circle[radius={_number(shape.radius)}];"
            if not shape.outline:
                return rf"\fill[{ink}] {circle}"
            return rf"\draw[black, fill={ink}, line width={pt(shape.outline)}] {circle}"
        case Box():
            far = (shape.corner[0] + shape.size[0], shape.corner[1] + shape.size[1])
            return rf"\fill[{INKS[shape.ink][1]}] {_at(shape.corner)} rectangle {_at(far)};"
        case Label():
            font = r"\normalfont" + (r"\itshape" if shape.italic else "")
            size = _number(shape.size * scale * _POINTS_PER_CM / 10)  # of a font of 10pt
            anchor = {"start": "west", "middle": "center", "end": "east"}[shape.anchor]
            text = "".join(_TEX.get(c, c) for c in " ".join(shape.text.split()))
            style = f"anchor={anchor}, inner sep=0pt, scale={size}, font={font}"
            return rf"\node[{style}] at {_at(shape.at)} {{{text}}};"


def _at(p: Point) -> str:
    return f"({_number(p[0])},{_number(-p[1])})"


def _number(value: float) -> str:
    """Write a number with at most 4 decimals and no trailing zeros."""
    text = f"{value:.4f}".rstrip("0").rstrip(".")
    return "0" if text == "-0" else text
