"""The genetic search of AdSEE, by pymoo: seeded, batched, with operators that do what they say.

    found = genetic_search(fitness, seed=0)
    found.vector, found.gain, found.calls

The first generation is no edit and plans near it. In each generation, parents are drawn with a
chance proportional to their rank and stay; pairs of them are crossed, each value from either with
chance 1/2; a fifth of an offspring's values, at least one, is mutated. Plans that are there already
are not made again. Best is the best of all that were seen.
"""

from __future__ import annotations

from typing import Any

from adwright.core.errors import MissingExtraError
from adwright.creative.editor.search.fitness import PlanFitness
from adwright.creative.editor.search.settings import Archive, GeneticSettings, SearchOutcome

__all__ = ["genetic_search", "search_parts"]


def genetic_search(
    fitness: PlanFitness, *, seed: int, settings: GeneticSettings | None = None
) -> SearchOutcome:
    """Search the fitness's plan. The same seed finds the same.

    Raises ConfigError where the fitness has several judges, MissingExtraError without pymoo, and as
    the judges do.
    """
    settings = settings or GeneticSettings()
    parts, start = search_parts(), fitness.calls
    archive = Archive(fitness.neutral, float(fitness.scores(fitness.neutral[None])[0]))
    problem = parts.PlanProblem(fitness)
    algorithm = parts.RankSelected(settings)
    # The first generation is one of pymoo's, too.
    algorithm.setup(problem, termination=("n_gen", settings.generations + 1), seed=seed)
    while algorithm.has_next():
        algorithm.next()
        for vectors, values in problem.seen:
            archive.take(vectors, values[:, 0], fitness.calls - start)
        problem.seen.clear()
    return archive.outcome("genetic", fitness.calls - start)


def search_parts() -> Any:
    """The module of operators. Raises MissingExtraError without pymoo."""
    try:
        from adwright.creative.editor.search import operators
    except ImportError as error:
        raise MissingExtraError("genetic searches of edits", "creative") from error
    return operators
