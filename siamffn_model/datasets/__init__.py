"""Readers of data sets, one file each, and rendered scenes."""
