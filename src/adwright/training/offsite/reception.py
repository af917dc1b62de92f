"""Who connects is heard in a thread of its own, so that no peer keeps the next one waiting.

A stranger may say nothing, or drip: it has the time of a hello, and where too many wait the one
that came first is sent away. A peer that knows the token is served in its thread; only so many are
served at once.

    with Reception(Listener(), serve) as reception:
        ...                                           # serve(channel) is called for each peer
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Self

from adwright.core.errors import ResourceError
from adwright.training.offsite.wire import Channel, Listener, printable

__all__ = ["Reception"]

_logger = logging.getLogger("adwright")
#: Seconds after which the thread that accepts looks whether it should go on.
_LOOK = 0.2
#: Seconds in which all that is served is to end, once it was interrupted.
_PATIENCE = 30.0


class Reception:
    """Accepts until the end of the context, which interrupts all that is still served and waits for
    it: a thread that is inside torch when the process ends takes the process down.

    listener: is not closed. serve: gets a channel whose peer has said hello; what it raises is
    logged, and told to the peer. at_once: peers that are served, and four times as many strangers
    that have yet to say hello.
    """

    def __init__(
        self, listener: Listener, serve: Callable[[Channel], None], *, at_once: int = 8
    ) -> None:
        self._listener, self._serve, self._at_once = listener, serve, at_once
        self._lock, self._ended = threading.Lock(), threading.Event()
        self._strangers, self._served = list[Channel](), list[Channel]()
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._receiving = set[threading.Thread]()
        self.last: Exception | None = None

    @property
    def served(self) -> int:
        """How many peers are served now."""
        return len(self._served)

    def __enter__(self) -> Self:
        self._accepting.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        until = time.monotonic() + _PATIENCE
        self._accepting.join(_PATIENCE)
        with self._lock:
            for channel in (*self._strangers, *self._served):
                channel.interrupt()
        for thread in self._receiving:
            thread.join(max(0.0, until - time.monotonic()))

    def _accept(self) -> None:
        while not self._ended.is_set():
            try:
                channel = self._listener.accept(wait=_LOOK, last=False, timeout=60.0)
            except ResourceError:
                # Nobody came, or no descriptor is left: either way a little later.
                self._ended.wait(_LOOK / 10)
                continue
            with self._lock:
                self._strangers.append(channel)
                if len(self._strangers) > 4 * self._at_once:
                    self._strangers[0].interrupt()
                    del self._strangers[0]
            self._receiving = {each for each in self._receiving if each.is_alive()}
            thread = threading.Thread(target=self._receive, args=[channel], daemon=True)
            self._receiving.add(thread)
            thread.start()

    def _receive(self, channel: Channel) -> None:
        """Hear the hello and serve the peer. Whatever a peer may cause ends here."""
        try:
            channel.receive_hello()
            with self._lock:
                if channel in self._strangers:
                    self._strangers.remove(channel)
                if len(self._served) >= self._at_once:
                    raise ResourceError("too many peers are served", where=channel.peer)
                self._served.append(channel)
            self._serve(channel)
        except Exception as error:
            self.last = error
            if not self._ended.is_set():
                _logger.warning("a peer was turned away: %s", printable(str(error)))
            channel.refuse(type(error).__name__)
        finally:
            with self._lock:
                for held in (self._strangers, self._served):
                    if channel in held:
                        held.remove(channel)
