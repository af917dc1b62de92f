"""The training loop and what it keeps: run folder, position, optimiser state, processes."""
