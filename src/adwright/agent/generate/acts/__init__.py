"""Plans for tasks that say what to do act by act."""
