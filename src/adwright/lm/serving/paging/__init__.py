"""Pages of keys and values: who shares them, and the network that reads them."""
