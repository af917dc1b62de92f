"""Networks of two hazard heads: what they read, how they learn, and the curves they give."""
