"""SEED: a writer of ads that learns from the best of what it wrote, as a judge of memory has it."""
