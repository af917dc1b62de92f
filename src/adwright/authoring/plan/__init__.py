"""Writing by plan: which facts, in which order and frame, is chosen; a grammar says them."""
