"""Tracking of several targets in a live stream of frames."""
