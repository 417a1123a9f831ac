"""Boxes, crops, drawing, image sources and the video writer."""
