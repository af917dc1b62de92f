"""Apps that have drifted since they were explored: variants of their pages, by kind and seed."""
