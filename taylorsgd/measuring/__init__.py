"""Measured values of formulas."""
