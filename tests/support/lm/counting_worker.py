"""OpenVINO's worker without OpenVINO: it counts down from the first token of a prompt."""

from __future__ import annotations

import os
import socket
import threading
import time

from adwright.lm.native_engines.lifeline import take_up
from adwright.lm.native_engines.openvino_steps import StepOutput, StepRequest
from adwright.lm.native_engines.openvino_worker import serve


class Counting:
    """Counts for each request in a thread of its own."""

    def submit(self, request: StepRequest) -> None:
        if request.ids[0] == 98:
            raise ValueError("it is not taken")
        threading.Thread(target=self._count, args=(request,), daemon=True).start()

    def _count(self, request: StepRequest) -> None:
        for left in reversed(range(request.ids[0])):
            if request.dropped:
                break
            request.tell(StepOutput((left,), (), ended=left == 0, full=left == 0))
            time.sleep(0.001)
        if request.dropped:
            request.tell(StepOutput((), (), ended=True))


def main() -> None:
    lifeline = take_up()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(lifeline.settings["socket"])
    listener.listen(1)
    lifeline.ready()
    connection, _ = listener.accept()
    serve(connection, Counting(), dict)  # type: ignore[arg-type]
    os._exit(0)


if __name__ == "__main__":
    main()
