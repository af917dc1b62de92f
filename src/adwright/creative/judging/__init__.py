"""What every judge of an ad shares: answers with intervals, novelty, explanations."""
