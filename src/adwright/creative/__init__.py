"""Floor 4: what an ad is, how it did, and how long it will live."""
