"""What adapters of each kind do to the base that they share, so that one engine serves all."""
