"""Finds texts that were written for a ranker and not for a shopper."""
