"""Benchmarks: many fields through the stages in several ways, all scored by one evaluator."""
