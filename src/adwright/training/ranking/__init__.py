"""Train, evaluate, explain, score with and export the fine ranker."""
