"""Prepare batches in a thread of its own while the network computes."""

from __future__ import annotations

from collections.abc import Generator, Iterator
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import TypeVar

__all__ = ["prefetch"]

T = TypeVar("T")

#: Enough to go on with while the next window is read; some ten megabytes.
DEPTH = 64


class _End:
    """What follows the last item: the error that ended the source, or None."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


def prefetch(source: Iterator[T], *, depth: int = DEPTH) -> Generator[T, None, None]:
    """The items of `source`, in order, of which up to `depth` are made ahead of time.

    Errors of the source are raised after the items before them. Close the iterator to leave
    before the end: the thread then stops.
    """
    ready: Queue[T | _End] = Queue(depth)
    stop = Event()
    thread = Thread(target=_produce, args=(source, ready, stop), daemon=True, name="prefetch")
    thread.start()
    try:
        while not isinstance(item := ready.get(), _End):
            yield item
        if item.error is not None:
            raise item.error
    finally:
        stop.set()
        # A producer that waits for room finds it, sees `stop` and ends.
        while thread.is_alive():
            try:
                ready.get(timeout=0.01)
            except Empty:
                continue
        thread.join()


def _produce(source: Iterator[T], ready: Queue[T | _End], stop: Event) -> None:
    end = _End(None)
    try:
        for item in source:
            _put(item, ready, stop)
            if stop.is_set():
                return
    except BaseException as error:
        end = _End(error)
    _put(end, ready, stop)


def _put(item: T | _End, ready: Queue[T | _End], stop: Event) -> None:
    while not stop.is_set():
        try:
            ready.put(item, timeout=0.1)
        except Full:
            continue
        return
