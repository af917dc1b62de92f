"""Tasks with end states: what is asked, what must be so afterwards, and who solves them."""
