"""Are the descriptions that were written better? Judged by search and by people."""
