"""The loop of an ad's life as one command: its steps, and what it has done and used."""
