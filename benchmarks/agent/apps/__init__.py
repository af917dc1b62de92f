"""Applications on loopback, each started from its package, with data made anew for each run."""
