"""Texts and images of ads as vectors, each computed once."""
