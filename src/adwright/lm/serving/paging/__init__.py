"""Pages of keys and values: who shares them, and the attention and layers that read them."""
