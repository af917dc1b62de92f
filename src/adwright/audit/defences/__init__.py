"""Layers that keep sellers' texts from steering a ranker, each by itself and as a stack."""
