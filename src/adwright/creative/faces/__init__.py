"""Faces of ads: a generator of portraits, its encoder, directions of change, and their training."""
