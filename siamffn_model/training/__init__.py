"""Training of models: pairs, labels, losses and the training loop."""
