"""How long an ad will live: spells, networks of hazards, and when to stop it."""
