"""Floor 3: training networks, from one process to many."""
