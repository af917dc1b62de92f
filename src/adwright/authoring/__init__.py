"""Floor 4: what an ad says. Tasks, instruction data, tuning, bulk writing, checks and review."""
