"""Benchmarks that anyone can enter: frozen crystals and splits, data by one command, scores of predictions."""
