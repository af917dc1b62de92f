"""A service in a process of its own: service_process.py STORE_URL MODELS FD [SETTINGS as JSON]."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from adwright.campaigns.store.store import Store
from adwright.core.clock import SystemClock
from adwright.service.app import create_app
from adwright.service.config import ServiceConfig
from adwright.service.registry.registry import FolderModels
from adwright.web.server import serve
from tests.support.service.small_shop import load_version


def main(url: str, models: str, descriptor: str, settings: str = "{}") -> None:
    """Serve on the socket that was handed down."""
    config = ServiceConfig(**json.loads(settings))
    with Store.open(url) as store:
        folder = FolderModels(models, load_version, SystemClock())
        app = create_app(config, store, folder)
        serve(app, socket.socket(fileno=int(descriptor)))
    print("ended")


if __name__ == "__main__":
    main(*sys.argv[1:])
