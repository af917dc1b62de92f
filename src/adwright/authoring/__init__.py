"""What an ad says: tasks, instruction data, bulk writing, checks and review."""
