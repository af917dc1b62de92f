"""A worker process without a model: ready, failing, dying or hanging at its start."""

from __future__ import annotations

import os
import time

from adwright.lm.native_engines.lifeline import take_up


def main() -> None:
    lifeline = take_up()
    match lifeline.settings["how"]:
        case "ready":
            lifeline.ready()
        case "fails":
            lifeline.failed(ValueError("no model"))
        case "dies":
            os._exit(3)
        case _:
            time.sleep(600)
    lifeline.watch.join()


if __name__ == "__main__":
    main()
