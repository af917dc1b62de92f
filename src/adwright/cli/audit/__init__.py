"""adwright audit: how far a text can push a product up a model's list, and how to bound it."""
