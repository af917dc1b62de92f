"""Attacks that see the weights of the model: gradients choose which tokens to try."""
