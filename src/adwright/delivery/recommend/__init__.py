"""The best items for everybody at once, from any model that can be served, into a file."""
