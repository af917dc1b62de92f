"""What is known of an edited picture: signed statements, tags, and a log that only grows."""
