"""Network architectures: backbones, neck, correlation, fusion, heads; zoo.py names the models."""
