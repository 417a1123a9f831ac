"""Evaluation: run trackers over the sequences of a benchmark and score their results."""
