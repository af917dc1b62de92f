"""The stages of a cascade: candidate sources, scorers, rankers and the caches behind them."""
