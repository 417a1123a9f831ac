"""Measurements of speed, complexity and evaluation overhead."""
