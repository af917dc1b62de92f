"""What is handed in broken is refused in plain words, and leaves nothing behind."""
