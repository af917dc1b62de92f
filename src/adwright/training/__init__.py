"""The loop and its trainees, from one process to many."""
