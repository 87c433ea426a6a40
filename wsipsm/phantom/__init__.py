"""Drawn slides with known nuclei, for the demonstration, the tests and the benchmarks."""
