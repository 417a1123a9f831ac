"""Measurements of speed, complexity and overhead."""
