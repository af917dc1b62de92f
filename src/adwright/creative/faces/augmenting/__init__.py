"""Adaptive augmentation of what a discriminator reads, where there are few pictures."""
