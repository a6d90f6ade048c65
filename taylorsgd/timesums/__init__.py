"""Sums over the times of a diagram's events."""
