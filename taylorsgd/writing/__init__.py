"""Formulas on a page: text, LaTeX, SymPy, JSON."""
