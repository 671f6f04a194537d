"""Solvers of the dynamical problem: a literal reference, and fast ones that equal it."""
