"""How far sellers' texts push a product up a model's list, and how that is bounded."""
