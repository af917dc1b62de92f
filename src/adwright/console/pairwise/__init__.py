"""Two texts side by side, in an order that tells nothing of where they come from."""
