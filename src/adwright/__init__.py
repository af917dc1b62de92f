"""adwright: an ad's whole life on one stack, from the log to the next decision.

Importing this package loads nothing heavy: the names below are fetched from their rooms when
they are first used, and every room can be imported by its own name.

    import adwright as aw

    task = aw.response_task(households=0.004)
    ranker = aw.train(task)
    print(ranker.report.table())
"""

from typing import TYPE_CHECKING, Any

from adwright.core.version import __version__

if TYPE_CHECKING:
    from adwright.audit.catalogue import open_catalogue
    from adwright.audit.report.audit_report import run_audit
    from adwright.creative.editor.job import edit_ads
    from adwright.data.sources.log import open_log
    from adwright.data.tasks.task import Task
    from adwright.delivery.recommend.run import recommend_all
    from adwright.demos.ranker import DemoConfig, demo
    from adwright.models.ranking.din import DINConfig
    from adwright.training.loop.trainee import Callback
    from adwright.training.ranking.config import RunConfig, response_task
    from adwright.training.ranking.fit import FitConfig
    from adwright.training.ranking.ranker import Ranker
    from adwright.training.ranking.run import run, train
    from adwright.training.ranking.scoring import score_file

__all__ = [
    "Callback",
    "DINConfig",
    "DemoConfig",
    "FitConfig",
    "Ranker",
    "RunConfig",
    "Task",
    "__version__",
    "demo",
    "edit_ads",
    "open_catalogue",
    "open_log",
    "recommend_all",
    "response_task",
    "run",
    "run_audit",
    "score_file",
    "train",
]


_ROOMS = {
    "Callback": "adwright.training.loop.trainee",
    "DINConfig": "adwright.models.ranking.din",
    "DemoConfig": "adwright.demos.ranker",
    "FitConfig": "adwright.training.ranking.fit",
    "Ranker": "adwright.training.ranking.ranker",
    "RunConfig": "adwright.training.ranking.config",
    "Task": "adwright.data.tasks.task",
    "demo": "adwright.demos.ranker",
    "open_catalogue": "adwright.audit.catalogue",
    "edit_ads": "adwright.creative.editor.job",
    "open_log": "adwright.data.sources.log",
    "recommend_all": "adwright.delivery.recommend.run",
    "response_task": "adwright.training.ranking.config",
    "run": "adwright.training.ranking.run",
    "run_audit": "adwright.audit.report.audit_report",
    "score_file": "adwright.training.ranking.scoring",
    "train": "adwright.training.ranking.run",
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
