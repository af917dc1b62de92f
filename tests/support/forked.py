"""The command that takes the place of `python`: what it is given runs as a fork of the server.

    forked.py ADDRESS [-W error] SCRIPT|-c CODE|-m MODULE|- [ARGUMENT...]

See `tests.support.forks`.
"""

import json
import os
import signal
import socket
import sys


def main(address: str, *arguments: str) -> None:
    """Ask for the program, pass on what signals come, and end as it ends."""
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(address)
        asked = {"cwd": os.getcwd(), "env": dict(os.environ), "arguments": arguments}
        data = json.dumps(asked).encode() + b"\n"
        sent = socket.send_fds(server, [data], [0, 1, 2])
        server.sendall(data[sent:])
        told = server.makefile()
        pid = int(told.readline())
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, lambda which, _: os.kill(pid, which))
        code = int(told.readline())
    if code < 0:
        signal.signal(-code, signal.SIG_DFL)
        os.kill(os.getpid(), -code)
    sys.exit(code)


if __name__ == "__main__":
    main(*sys.argv[1:])
