"""Training: pairs, labels, losses and the loop."""
