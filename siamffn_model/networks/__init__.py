"""The network's parts, one file each, in the order data flows; zoo.py names the models."""
