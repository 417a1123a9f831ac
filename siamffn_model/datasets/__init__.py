"""Readers of training sets and benchmarks, one file per data set, and synthetic scenes."""
