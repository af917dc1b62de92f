"""adwright: an ad's whole life on one stack, from the log to the next decision.

Importing this package loads nothing heavy: the names below are fetched from their rooms when
they are first used, and every room can be imported by its own name.

    import adwright as aw

    task = aw.response_task(households=0.02)
    ranker = aw.train(task)
    print(ranker.report.table())
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from adwright.data.sources.log import open_log
    from adwright.data.tasks.task import Task
    from adwright.models.ranking.din import DINConfig
    from adwright.training.demo import DemoConfig, demo
    from adwright.training.fit import FitConfig
    from adwright.training.pipeline import run, train
    from adwright.training.ranker import Ranker
    from adwright.training.runfile import RunConfig, response_task
    from adwright.training.scoring import score_file

__all__ = [
    "DINConfig",
    "DemoConfig",
    "FitConfig",
    "Ranker",
    "RunConfig",
    "Task",
    "__version__",
    "demo",
    "open_log",
    "response_task",
    "run",
    "score_file",
    "train",
]

__version__ = "0.1.0"

_ROOMS = {
    "DINConfig": "adwright.models.ranking.din",
    "DemoConfig": "adwright.training.demo",
    "FitConfig": "adwright.training.fit",
    "Ranker": "adwright.training.ranker",
    "RunConfig": "adwright.training.runfile",
    "Task": "adwright.data.tasks.task",
    "demo": "adwright.training.demo",
    "open_log": "adwright.data.sources.log",
    "response_task": "adwright.training.runfile",
    "run": "adwright.training.pipeline",
    "score_file": "adwright.training.scoring",
    "train": "adwright.training.pipeline",
}


def __getattr__(name: str) -> Any:
    """Fetch a public name from its room."""
    if name not in _ROOMS:
        raise AttributeError(f"module 'adwright' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_ROOMS[name]), name)


def __dir__() -> list[str]:
    """The public names, for completion in a shell."""
    return sorted(__all__)
