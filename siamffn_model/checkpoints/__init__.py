"""Conversion of weight files from other projects."""
