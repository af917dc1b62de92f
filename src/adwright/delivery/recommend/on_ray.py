"""Parts of a long job divided among processes with Ray Data.

Each process makes what it works with once, from values that travel to it, and then takes one part
after another; what it writes lies where all nodes see it, so that nothing large travels back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from importlib.util import find_spec
from typing import Any, Protocol

import numpy as np

from adwright.core.errors import ConfigError, MissingExtraError
from adwright.training.on_ray import ray_cluster


class Worker(Protocol):
    """What does a part in its process."""

    def write(self, part: int) -> int:
        """Do the part; how many of its units are done then."""


def require_workers(workers: int) -> None:
    """Raise ConfigError for a number of workers below 1, MissingExtraError without Ray."""
    if workers < 1:
        raise ConfigError("workers must be at least 1", where=f"workers {workers}")
    if find_spec("ray") is None:
        raise MissingExtraError("recommending on Ray", "ray")


def parts_on_ray(
    make: Callable[..., Worker], settings: Sequence[Any], parts: Sequence[int], workers: int
) -> Iterator[int]:
    """Do the parts in `workers` processes; yields what each gives, as they are done.

    make: called with `settings` in each process. Runs on the cluster that this process is
    connected to or that RAY_ADDRESS names, else on one of its own on this machine.
    Raises as `require_workers`.
    """
    require_workers(workers)
    if not parts:
        return
    with ray_cluster(workers):
        from ray import data

        class Doing:
            def __init__(self) -> None:
                self.worker = make(*settings)

            def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
                return {"done": np.array([self.worker.write(int(n)) for n in batch["item"]])}

        asked = data.from_items(list(parts), override_num_blocks=len(parts))
        size = min(workers, len(parts))
        done = asked.map_batches(Doing, batch_size=1, concurrency=size, num_cpus=1)
        for row in done.iter_rows():
            yield int(row["done"])
