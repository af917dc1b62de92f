"""Folders that are exchanged while they are read, writers that are killed, and caches that were
changed."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np

from adwright.core import assets
from adwright.core.assets import RECORD, Pin, asset, pins
from adwright.core.atomic import atomic_folder
from adwright.core.errors import ArtifactError, AssetError
from tests.attacks.attack import Area, Attack

MEMBERS = {"tiny/data/a.csv": b"x,y\n1,2\n", "tiny/data/b.csv": b"z\n"}
KILLS = 25


def fresh(shared: Path) -> Path:
    return Path(shared, os.urandom(8).hex())


def put(path: Path, turn: object) -> None:
    with atomic_folder(path, overwrite=True) as folder:
        for name in ("first", "last"):
            (folder / name).write_text(str(turn))


def whole(path: Path) -> str:
    """The one version that a folder holds; fails where it holds two, or none."""
    found = {(path / name).read_text() for name in ("first", "last")}
    assert len(found) == 1, f"a mixture of {found}"
    return found.pop()


WRITING = """
import os, shutil, signal, sys
from pathlib import Path
from adwright.core.atomic import atomic_folder

def dies(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)

def after(calls, call):
    left = [calls]
    def counted(*rest, **more):
        left[0] -= 1
        return dies() if left[0] < 0 else call(*rest, **more)
    return counted

{patch}
for turn in range(1_000_000):
    with atomic_folder(sys.argv[1], overwrite=True) as folder:
        for name in ("first", "last"):
            (folder / name).write_text(str(turn))
    if not turn:
        print("ready", flush=True)
"""


def killed(path: Path, patch: str = "", seconds: float = 60.0) -> None:
    """A process that overwrites a folder again and again, until it is killed: by its own hand, or
    after so many seconds from its first version on."""
    command = [sys.executable, "-c", WRITING.format(patch=patch), str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        try:
            if not patch:
                assert process.stdout is not None
                assert process.stdout.readline() == b"ready\n"
            with suppress(subprocess.TimeoutExpired):
                process.wait(seconds)
        finally:
            process.send_signal(signal.SIGKILL)


def at_random(shared: Path) -> Mapping[str, float]:
    path, rng = fresh(shared) / "run", random.Random(0)
    path.parent.mkdir()
    for _ in range(KILLS):
        killed(path, seconds=rng.uniform(0, 0.03))
        whole(path)
    left = len(list(path.parent.iterdir())) - 1
    put(path, "at last")
    assert [each.name for each in path.parent.iterdir()] == ["run"]
    return {"kills": KILLS, "left_behind": left}


def at(patch: str) -> Callable[[Path], None]:
    def run(shared: Path) -> None:
        path = fresh(shared) / "run"
        put(path, "old")
        killed(path, patch)
        assert whole(path) in ("old", "0")
        put(path, "new")
        assert [each.name for each in path.parent.iterdir()] == ["run"]

    return run


def read_meanwhile(shared: Path) -> Mapping[str, float]:
    path, looks, wrong = fresh(shared) / "run", 0, list[BaseException]()
    put(path, 0)
    done = threading.Event()

    def overwrite() -> None:
        for turn in range(300):
            put(path, turn)
        done.set()

    writer = threading.Thread(target=overwrite)
    writer.start()
    while not done.is_set():
        looks += 1
        if not path.is_dir():
            wrong.append(FileNotFoundError(path))
    writer.join()
    assert not wrong, f"it was not there {len(wrong)} times"
    return {"looks": looks}


def written_by_four(shared: Path) -> None:
    path = fresh(shared) / "run"
    put(path, "old")

    broke = list[Exception]()

    def write(who: int) -> None:
        try:
            for turn in range(25):
                put(path, f"{who}-{turn}")
        except Exception as error:
            broke.append(error)

    writers = [threading.Thread(target=write, args=(who,)) for who in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert not broke, broke[0]
    whole(path)
    put(path, "new")
    assert [each.name for each in path.parent.iterdir()] == ["run"]


def deployment_exchanged(shared: Path) -> Mapping[str, float]:
    from adwright.delivery.cascade.build import Deployment
    from tests.support.delivery.cascade_parts import deployment, two_tower

    root = fresh(shared)
    towers = {}
    for seed in (0, 1):
        made = replace(deployment(), retriever=two_tower(seed))
        towers[made.save(root / str(seed))] = made.retriever.tower  # type: ignore[union-attr]
    done, loaded = threading.Event(), 0

    def exchange() -> None:
        for turn in range(100_000):
            for one, other in (("0/retriever", "aside"), ("1/retriever", "0/retriever")):
                (root / one).rename(root / other)
            (root / "aside").rename(root / "1" / "retriever")
            if turn % 2 and done.is_set():
                return

    mover = threading.Thread(target=exchange)
    mover.start()
    try:
        ends = time.monotonic() + 6
        while time.monotonic() < ends:
            with suppress(ArtifactError):
                found = Deployment.load(root / "0")
                loaded += 1
                same = np.array_equal(found.retriever.tower, towers[found.artifact_id])  # type: ignore[union-attr]
                assert same, "the parts are of two versions"
    finally:
        done.set()
        mover.join()
    return {"loaded": loaded}


def wheel_of(folder: Path, members: Mapping[str, bytes] = MEMBERS) -> Path:
    folder.mkdir(parents=True)
    path = folder / "obp-9.9.9-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in members.items():
            archive.writestr(zipfile.ZipInfo(name, (2024, 1, 1, 0, 0, 0)), data)
    return path


@contextmanager
def pinned(shared: Path) -> Iterator[tuple[Path, Path]]:
    """A wheel that is the pinned one of `obp`, and a cache."""
    wheel, before = wheel_of(fresh(shared)), pins()["obp"]
    digest = hashlib.sha256(wheel.read_bytes()).hexdigest()
    pins()["obp"] = Pin("obp", "9.9.9", digest, ("tiny/data/",), "tiny/data/a.csv", "tiny")
    try:
        yield wheel, fresh(shared)
    finally:
        pins()["obp"] = before


def check(folder: Path) -> None:
    assert {name: (folder / name).read_bytes() for name in MEMBERS} == MEMBERS


def while_it_waits(spoil: Callable[[Path, bytes], object]) -> Callable[[Path], None]:
    """The wheel is changed while its caller waits for the lock, after the first look at it."""

    def run(shared: Path) -> None:
        evil = wheel_of(fresh(shared), MEMBERS | {"tiny/data/a.csv": b"x,y\n6,6\n"}).read_bytes()
        with pinned(shared) as (wheel, cache):
            lock = assets.locked

            @contextmanager
            def slow(path: Path) -> Iterator[None]:
                with lock(path):
                    spoil(wheel, evil)
                    yield

            assets.locked = slow  # type: ignore[assignment]
            try:
                check(asset("obp", path=wheel, cache=cache))
            except AssetError:
                assert not [one for one in cache.iterdir() if not one.name.startswith(".")]
            finally:
                assets.locked = lock

    return run


def exchanged(wheel: Path, evil: bytes) -> None:
    wheel.with_name("evil").write_bytes(evil)
    wheel.with_name("evil").replace(wheel)


def a_fifo(wheel: Path, evil: bytes) -> None:
    wheel.unlink()
    os.mkfifo(wheel)


UNPACKING = """
import os, signal, sys, zipfile
from pathlib import Path
from adwright.core.assets import pins, Pin, asset

pins()["obp"] = Pin("obp", "9.9.9", sys.argv[2], ("tiny/data/",), "tiny/data/a.csv", "tiny")
extract = zipfile.ZipFile.extract
def dies(archive, member, folder):
    extract(archive, member, folder)
    os.kill(os.getpid(), signal.SIGKILL)
zipfile.ZipFile.extract = dies
asset("obp", path=Path(sys.argv[1]), cache=Path(sys.argv[3]))
"""


def killed_unpacking(shared: Path) -> None:
    with pinned(shared) as (wheel, cache):
        command = [sys.executable, "-c", UNPACKING, str(wheel), pins()["obp"].sha256, str(cache)]
        assert subprocess.run(command, check=False).returncode == -signal.SIGKILL
        assert list(cache.glob("*.tmp")) or list(cache.glob(".*.tmp"))
        check(asset("obp", path=wheel, cache=cache))
        assert not list(cache.glob(".*.tmp"))


def changed_cache(spoil: Callable[[Path], object]) -> Callable[[Path], None]:
    """What was changed in the cache is noticed, and made good from the wheel."""

    def run(shared: Path) -> None:
        with pinned(shared) as (wheel, cache):
            folder = asset("obp", path=wheel, cache=cache)
            time.sleep(0.02)  # the clock of the file system ticks
            spoil(folder)
            with suppress(AssetError):
                check(asset("obp", cache=cache, offline=True))
            check(asset("obp", path=wheel, cache=cache))

    return run


def record(text: str) -> Callable[[Path], object]:
    def spoil(folder: Path) -> None:
        (folder / RECORD).write_text(text)
        (folder / "tiny/data/a.csv").unlink()

    return spoil


def same_size(folder: Path) -> None:
    file = folder / "tiny/data/a.csv"
    status = file.stat()
    file.write_bytes(b"x,y\n6,6\n")
    os.utime(file, ns=(status.st_atime_ns, status.st_mtime_ns))


def linked(folder: Path) -> None:
    file = folder / "tiny/data/a.csv"
    file.rename(folder.parent / "aside")
    file.symlink_to(folder.parent / "aside")


RECORDS = {
    "is empty": "{}", "is a list": "[]", "is null": "null", "is half": '{"tiny', "is text": '"a"',
    "names files outside": '{"../../../etc/passwd": 1}', "is 100,000 deep": "[" * 100_000,
}  # fmt: skip
RACES = [
    Attack(f"a folder overwritten, {KILLS} kills at random moments", at_random, seconds=120),
    *(
        Attack(
            f"a writer killed at its flush number {n + 1}", at(f"os.fsync = after({n}, os.fsync)")
        )
        for n in range(5)
    ),
    Attack("a writer killed once the names are exchanged", at("shutil.rmtree = dies"), quick=True),
    Attack("a folder overwritten 300 times while it is looked at", read_meanwhile),
    Attack("a folder overwritten by four at once", written_by_four, quick=True),
    Attack("a deployment's part exchanged while it is loaded", deployment_exchanged, seconds=60),
    *(
        Attack(f"a wheel {name} while its caller waits", while_it_waits(spoil), quick=True)
        for name, spoil in {
            "exchanged": exchanged,
            "written over": lambda wheel, evil: wheel.write_bytes(evil),
            "that becomes a FIFO": a_fifo,
            "that goes away": lambda wheel, _: wheel.unlink(),
        }.items()
    ),
    Attack("a process killed while it unpacks", killed_unpacking),
    *(
        Attack(f"a record of the cache that {name}", changed_cache(record(text)), quick=True)
        for name, text in RECORDS.items()
    ),
    *(
        Attack(f"a cache in which {name}", changed_cache(spoil), quick=True)
        for name, spoil in {
            "a byte was changed": same_size,
            "a file is a link": linked,
            "a file is gone": lambda folder: (folder / "tiny/data/b.csv").unlink(),
            "everything is gone": shutil.rmtree,
        }.items()
    ),
]


AREAS = [Area("races and kills", RACES)]
