"""Words around the values of tasks, of three sorts."""
