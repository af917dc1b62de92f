"""DIN and its base model on MovieLens 100k, side by side, from a run configuration."""

from __future__ import annotations

from pathlib import Path

import adwright as aw
from adwright.training.ranking.config import TaskConfig


def main() -> None:
    """Train both with the same seed and print the table."""
    fit = aw.FitConfig(epochs=1, embedding_learning_rate=0.1)
    config = aw.RunConfig(
        task=TaskConfig(kind="movielens"), fit=fit, draws=200, out=Path("runs/movielens")
    )
    result = aw.run(config)
    print(result.comparison.table())


if __name__ == "__main__":
    main()
