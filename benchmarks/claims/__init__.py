"""What the documentation claims, and what the results bear."""
