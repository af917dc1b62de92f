"""Peer libraries, each trained and scored in an environment of its own."""
