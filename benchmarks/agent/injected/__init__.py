"""Pages of real apps with instructions of an attacker's in them, and what arrived because of it."""
