"""Run checked scripts on a screen: step by step, with a trace; again without a model; verified."""
