"""Runs a peer library's DIN in its own environment and returns what it measured.

    python -m benchmarks.peers.harness fuxictr --data FOLDER --config CONFIG.json --out FOLDER

The main environment needs no peer, no torch and no pandas for this. `peer_common.py` documents the
exchange folder and the config, the runners' NOTES say where each library differs.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.peers.environments import PEERS, PeerName, build

_HERE = Path(__file__).resolve().parent
# glibc hands each large block back to the system when it is freed, and a padded step at long
# histories then spends a third of its time on new pages and more on cold caches. Keeping the
# blocks made the peers 1.6 to 3.7 times as fast (histories of 700), so they get that, at the price
# of up to a third more memory. What they are compared with must be started with the same settings.
ALLOCATOR = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**34)}
_DATA_FILES = ("meta.json", "train.parquet", "valid.parquet", "test.parquet", "events.npy")


class PeerFailedError(RuntimeError):
    """A runner ended without a result: message with peer, reason and the log's last lines."""


def run_peer(
    name: PeerName,
    data_folder: Path,
    config: Mapping[str, Any],
    out_folder: Path,
    timeout: float,
    *,
    environment: Path | None = None,
) -> dict[str, Any]:
    """Train and score one peer; return its result.json, with `config_hash` added.

    `config` holds the keys of `peer_common.Config`. `timeout` is in seconds of wall time and does
    not count building the environment (in `environment`, by default the cache folder). Writes
    config.json, log.txt, scores.npy and result.json to `out_folder`; where a result of the same
    peer, config, data and runner lies there already, it is returned and nothing runs.

    Raises `PeerFailedError` where the runner fails or takes longer than `timeout`.
    """
    out_folder.mkdir(parents=True, exist_ok=True)
    key = run_hash(name, data_folder, config)
    result_path = out_folder / "result.json"
    finished = _finished(result_path, key)
    if finished is not None:
        return finished
    python = build(name, folder=environment)
    result_path.unlink(missing_ok=True)
    config_path = out_folder / "config.json"
    config_path.write_text(json.dumps(dict(config), indent=2), encoding="utf-8")
    command = [str(python), str(_HERE / f"run_{name}.py")]
    command += ["--data", str(data_folder.resolve()), "--config", str(config_path.resolve())]
    command += ["--out", str(out_folder.resolve())]
    _run(command, out_folder, timeout=timeout, threads=int(config.get("threads", 1)))
    result: dict[str, Any] = json.loads(result_path.read_text(encoding="utf-8"))
    result["config_hash"] = key
    temporary = out_folder / "result.json.part"
    temporary.write_text(json.dumps(result, indent=2), encoding="utf-8")
    temporary.replace(result_path)
    return result


def run_hash(name: PeerName, data_folder: Path, config: Mapping[str, Any]) -> str:
    """SHA-256 over peer, config, allocator, code, meta.json and the sizes of the data files."""
    digest = hashlib.sha256()
    digest.update(json.dumps([name, dict(config), ALLOCATOR], sort_keys=True).encode())
    code = [_HERE / f"{file}.py" for file in (f"run_{name}", "peer_common", "peer_meter")]
    for path in (*code, data_folder / "meta.json"):
        digest.update(path.read_bytes())
    for file in _DATA_FILES:
        digest.update(f"{file} {(data_folder / file).stat().st_size}".encode())
    return digest.hexdigest()


def _finished(result_path: Path, key: str) -> dict[str, Any] | None:
    try:
        result: dict[str, Any] = json.loads(result_path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return result if result.get("config_hash") == key else None


def _run(command: list[str], out_folder: Path, *, timeout: float, threads: int) -> None:
    """Run the command in a process group of its own, output to log.txt, current folder OUT."""
    counts = {"OMP_NUM_THREADS": str(threads), "MKL_NUM_THREADS": str(threads)}
    # A user's own site packages must not reach into a peer's environment.
    environment = (
        os.environ | ALLOCATOR | counts | {"PYTHONNOUSERSITE": "1", "PYTHONUNBUFFERED": "1"}
    )
    environment.pop("PYTHONPATH", None)
    log_path = out_folder / "log.txt"
    with log_path.open("wb") as log:
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            cwd=out_folder,
            env=environment,
            start_new_session=True,
        )
        reason = _wait(process, timeout)
    if reason:
        tail = log_path.read_text(encoding="utf-8", errors="replace")[-2000:]
        raise PeerFailedError(f"{Path(command[1]).name} {reason} [{log_path}]\n{tail}")


def _wait(process: subprocess.Popen[bytes], timeout: float) -> str:
    """Wait for the end; the reason of a failure, or an empty text. Leaves no process behind."""
    try:
        code = process.wait(timeout=timeout)
        return f"ended with code {code}" if code else ""
    except subprocess.TimeoutExpired:
        return f"took longer than {timeout:g} s"
    finally:
        if process.poll() is None:
            # The group's number is the number of its first process, which we have not reaped.
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def main() -> None:
    """Run one peer from the command line and print its figures."""
    parser = argparse.ArgumentParser(description="Train and score one peer library's DIN.")
    parser.add_argument("name", choices=PEERS)
    parser.add_argument("--data", type=Path, required=True, help="exchange folder")
    parser.add_argument("--config", type=Path, required=True, help="JSON of the settings")
    parser.add_argument("--out", type=Path, required=True, help="folder for result and scores")
    parser.add_argument("--timeout", type=float, default=3600.0, help="seconds")
    arguments = parser.parse_args()
    config = json.loads(arguments.config.read_text(encoding="utf-8"))
    result = run_peer(
        arguments.name, arguments.data, config, arguments.out, timeout=arguments.timeout
    )
    print(json.dumps(result, indent=2))


if __name__ == "__main__":
    main()
