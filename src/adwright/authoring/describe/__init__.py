"""Are the descriptions that were written better? Judged by search, by clicks, and by people."""
