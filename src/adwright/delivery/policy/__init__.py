"""Turn ranked candidates into a slate with propensities: rules, exploration, diversity, pacing."""
