"""Faces in pictures: their points, an aligned crop of each, and the way back into the picture."""
