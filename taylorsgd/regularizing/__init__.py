"""Implicit and explicit regularization."""
