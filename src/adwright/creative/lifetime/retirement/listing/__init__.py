"""The list of what to stop: its reasons, its page, and the events that carry it out."""
