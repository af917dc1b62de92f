"""A service whose wall clock is pushed on from outside, for a day that passes in minutes.

    python -m tests.attacks.service.day_process STORE_URL MODELS DESCRIPTOR SETTINGS

Each line on its standard input is a number of seconds, and is answered with a line once the clock
stands later by so much. Durations are the machine's own: deadlines and waits mean what they say.
"""

from __future__ import annotations

import json
import socket
import sys
import threading
from datetime import datetime, timedelta

from adwright.campaigns.store.store import Store
from adwright.core.clock import SystemClock
from adwright.service.app import create_app
from adwright.service.config import ServiceConfig
from adwright.service.registry.publishing import load_deployed
from adwright.service.registry.registry import FolderModels
from adwright.web.server import serve


class LaterClock(SystemClock):
    """The machine's clock, later by what it was pushed on."""

    def __init__(self) -> None:
        self.later = timedelta()

    def now(self) -> datetime:
        """The machine's moment and what was added."""
        return super().now() + self.later

    def listen(self) -> None:
        """Take steps from standard input until it ends."""
        for line in sys.stdin:
            self.later += timedelta(seconds=float(line))
            print(self.later.total_seconds(), flush=True)


def main(url: str, models: str, descriptor: str, settings: str) -> None:
    """Serve until a signal comes."""
    clock = LaterClock()
    threading.Thread(target=clock.listen, daemon=True).start()
    config = ServiceConfig(**json.loads(settings))
    with Store.open(url, clock=clock) as store:
        folder = FolderModels(models, load_deployed, clock, seconds=config.poll_seconds)
        app = create_app(config, store, folder, clock=clock)
        serve(app, socket.socket(fileno=int(descriptor)))


if __name__ == "__main__":
    main(*sys.argv[1:])
