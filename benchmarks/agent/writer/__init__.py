"""The small writer of scripts: apps that it learns from, and what it is judged by."""
