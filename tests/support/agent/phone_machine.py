"""The real adbd, with programs of a phone that are scripts, in a network of its own.

This adbd asks nobody who he is, and gives a root shell to whoever reaches it. So it runs within a
network namespace that has nothing but its own loopback, together with the client and its server.
It would also listen on the sockets between virtual machines, which know no namespaces: their port
is held here as long as it runs.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from adwright.agent.android.adb import AdbSettings

_SCRIPTS = Path(__file__).with_name("phone")
_ADBD = "usr/lib/android-sdk/platform-tools/adbd"
#: Where `make phone` unpacks it, and where it is installed.
_PLACES = (Path(__file__).parents[3] / "build" / "adbd", Path("/"))
_PORT = 5037
#: One black pixel.
_PICTURE = bytes.fromhex(
    "89504e470d0a1a0a0000000d49484452000000010000000108000000003a7e9b55"
    "0000000a49444154789c6360000000020001e221bc330000000049454e44ae426082"
)


@dataclass(frozen=True)
class PhoneMachine:
    """folder: where the state of the phone lies. settings: to reach it with."""

    folder: Path
    settings: AdbSettings

    def reset(self) -> None:
        """As it was in the beginning."""
        state = {"screen": "form", "typed": "", "keyboard": "false", "trouble": "", "log": ""}
        for name, text in (state | {"inputs": ""}).items():
            (self.folder / name).write_text(text)


@contextmanager
def phone_machine(folder: Path) -> Iterator[PhoneMachine]:
    """A phone until the block ends; skips where it cannot be had."""
    adb = shutil.which("adb")
    adbd = next((one / _ADBD for one in _PLACES if (one / _ADBD).exists()), None)
    if adb is None or adbd is None:
        pytest.skip("there is no adb or no adbd: `make phone` fetches them")
    shutil.copytree(_SCRIPTS, folder / "bin")
    shutil.move(folder / "bin" / "screens", folder / "screens")
    (folder / "picture.png").write_bytes(_PICTURE)
    place = {
        **os.environ,
        "PATH": f"{folder / 'bin'}:{os.environ['PATH']}",
        "HOME": str(folder),
        "TMPDIR": str(folder),
        "ADB_MDNS": "0",
    }
    outside = ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--net", "--map-root-user"]
    start = f"ip link set lo up && exec setpriv --pdeathsig KILL {adbd}"
    held = _hold_machine_port()
    with (folder / "adbd.log").open("wb") as log:
        daemon = subprocess.Popen(
            [*outside, "sh", "-c", start], env=place, stdout=log, stderr=log, cwd=folder
        )
    client = folder / "adb"
    user = "" if os.geteuid() == 0 else "--user --preserve-credentials"
    words = f"nsenter --target {daemon.pid} {user} --net"
    client.write_text(
        f'#!/bin/sh\nexport HOME={folder} TMPDIR={folder} ADB_MDNS=0\nexec {words} {adb} "$@"\n'
    )
    client.chmod(0o755)
    settings = AdbSettings("127.0.0.1:5555", str(client), port=_PORT, folder=str(folder))
    machine = PhoneMachine(folder, settings)
    machine.reset()
    try:
        _connect(client, daemon, folder)
        yield machine
    finally:
        with suppress(subprocess.SubprocessError):
            subprocess.run([client, "kill-server"], capture_output=True, timeout=10, check=False)
        daemon.send_signal(signal.SIGKILL)
        daemon.wait()
        if held is not None:
            held.close()


def _hold_machine_port() -> socket.socket | None:
    """Port 5555 between virtual machines, bound and not listened at; None where there are none."""
    try:
        held = socket.socket(socket.AF_VSOCK, socket.SOCK_STREAM)
    except OSError:
        return None
    try:
        held.bind((socket.VMADDR_CID_ANY, 5555))
    except OSError:
        held.close()
        pytest.skip("port 5555 between virtual machines is taken: adbd would listen elsewhere")
    return held


def _connect(client: Path, daemon: subprocess.Popen[bytes], folder: Path) -> None:
    said, own = "", os.readlink("/proc/self/ns/net")
    for _ in range(50):
        if daemon.poll() is None and os.readlink(f"/proc/{daemon.pid}/ns/net") == own:
            time.sleep(0.02)  # it has not left this network yet
            continue
        if daemon.poll() is not None:
            pytest.skip(f"adbd does not run here: {(folder / 'adbd.log').read_text()[-300:]}")
        done = subprocess.run(
            [client, "connect", "127.0.0.1:5555"], capture_output=True, timeout=20, check=False
        )
        said = (done.stdout + done.stderr).decode()
        if "connected to" in said:
            return
        time.sleep(0.1)
    pytest.fail(f"adbd does not answer: {said}")
