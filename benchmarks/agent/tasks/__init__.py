"""Tasks with end states: what an agent is asked, what must be so afterwards, and who solves them."""
