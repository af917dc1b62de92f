"""Tasks of a log of one's own: what is decided for it, and why."""
