from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from adwright.core import atomic
from adwright.core.atomic import (
    aside_of,
    atomic_file,
    atomic_folder,
    atomic_write_bytes,
    atomic_write_text,
    check_free,
    claim,
    locked,
    new_file,
    new_folder,
    remove_dead,
    resource_error,
    sync_folder,
)
from adwright.core.errors import ResourceError


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def fail_with(number: int) -> object:
    def fail(*_: object, **__: object) -> None:
        raise OSError(number, os.strerror(number))

    return fail


def test_writes_and_replaces(tmp_path: Path) -> None:
    path = tmp_path / "new" / "deep" / "a.bin"
    atomic_write_bytes(path, b"one")
    atomic_write_bytes(str(path), b"two")
    assert path.read_bytes() == b"two"
    assert names(path.parent) == ["a.bin"]


def test_text_is_utf8_and_line_ends_stay(tmp_path: Path) -> None:
    atomic_write_text(tmp_path / "a.txt", "é\r\n\n")
    assert (tmp_path / "a.txt").read_bytes() == b"\xc3\xa9\r\n\n"


def test_file_has_the_usual_rights(tmp_path: Path) -> None:
    (tmp_path / "plain").write_bytes(b"")
    atomic_write_bytes(tmp_path / "a", b"")
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "a")}
    assert len(modes) == 1


def test_folder_has_the_usual_rights(tmp_path: Path) -> None:
    (tmp_path / "plain").mkdir()
    with atomic_folder(tmp_path / "a"):
        pass
    modes = {stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("plain", "a")}
    assert len(modes) == 1


def test_symbolic_link_is_replaced_not_followed(tmp_path: Path) -> None:
    (tmp_path / "target").write_bytes(b"keep")
    (tmp_path / "link").symlink_to(tmp_path / "target")
    atomic_write_bytes(tmp_path / "link", b"new")
    assert (tmp_path / "target").read_bytes() == b"keep"
    assert not (tmp_path / "link").is_symlink()


@pytest.mark.parametrize("step", ["fsync", "replace"])
def test_failed_write_keeps_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    atomic_write_bytes(tmp_path / "a", b"old")
    monkeypatch.setattr(atomic.os, step, fail_with(errno.ENOSPC))
    with pytest.raises(ResourceError, match="disk is full"):
        atomic_write_bytes(tmp_path / "a", b"new")
    assert (tmp_path / "a").read_bytes() == b"old"
    assert names(tmp_path) == ["a"]


def test_other_system_errors_pass_through(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(atomic.os, "replace", fail_with(errno.EIO))
    with pytest.raises(OSError, match=os.strerror(errno.EIO)):
        atomic_write_bytes(tmp_path / "a", b"new")
    assert names(tmp_path) == []


def test_folder_appears_whole(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "run") as folder:
        (folder / "sub").mkdir()
        (folder / "sub" / "a").write_text("x")
        assert not (tmp_path / "run").exists()
        assert folder.parent == tmp_path
    assert (tmp_path / "run" / "sub" / "a").read_text() == "x"
    assert names(tmp_path) == ["run"]


def write_then_raise(path: Path, error: BaseException) -> None:
    with atomic_folder(path) as folder:
        (folder / "a").write_text("x")
        raise error


@pytest.mark.parametrize("error", [ValueError("no"), KeyboardInterrupt()])
def test_error_leaves_no_trace(tmp_path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)):
        write_then_raise(tmp_path / "run", error)
    assert names(tmp_path) == []


def test_full_disk_inside_the_block_becomes_a_resource_error(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match="disk is full"), atomic_folder(tmp_path / "run"):
        raise OSError(errno.ENOSPC, "full")
    assert names(tmp_path) == []


def test_other_files_permission_is_not_blamed_on_the_folder(tmp_path: Path) -> None:
    with pytest.raises(PermissionError):
        write_then_raise(tmp_path / "run", PermissionError(errno.EACCES, "elsewhere"))
    assert names(tmp_path) == []


def test_existing_folder_needs_overwrite(tmp_path: Path) -> None:
    with atomic_folder(tmp_path / "run") as folder:
        (folder / "old").write_text("old")
    with pytest.raises(ResourceError, match="exists already"):
        check_free(tmp_path / "run", overwrite=False)
    check_free(tmp_path / "run", overwrite=True)
    with pytest.raises(ResourceError, match="exists already"), atomic_folder(tmp_path / "run"):
        pass
    with atomic_folder(tmp_path / "run", overwrite=True) as folder:
        (folder / "new").write_text("new")
    assert names(tmp_path) == ["run"]
    assert names(tmp_path / "run") == ["new"]


def test_failed_overwrite_puts_the_old_folder_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with atomic_folder(tmp_path / "run") as folder:
        (folder / "old").write_text("old")
    rename = os.rename
    calls: list[str] = []

    def second_call_fails(source: Path, target: Path) -> None:
        calls.append(str(source))
        if len(calls) == 2:
            raise OSError(errno.ENOSPC, "full")
        rename(source, target)

    monkeypatch.setattr(atomic.os, "rename", second_call_fails)
    monkeypatch.setattr(atomic.ctypes, "CDLL", fail_with(errno.ENOENT))
    with pytest.raises(ResourceError), atomic_folder(tmp_path / "run", overwrite=True) as folder:
        (folder / "new").write_text("new")
    assert names(tmp_path) == ["run"]
    assert names(tmp_path / "run") == ["old"]


def put(path: Path, text: str) -> None:
    with atomic_folder(path, overwrite=True) as folder:
        (folder / "a").write_text(text)


@pytest.mark.parametrize("can_exchange", [True, False])
def test_an_overwritten_folder_leaves_nothing_of_the_old_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_exchange: bool
) -> None:
    if not can_exchange:
        monkeypatch.setattr(atomic.ctypes, "CDLL", fail_with(errno.ENOENT))
    for text in ("one", "two", "three"):
        put(tmp_path / "run", text)
        assert (tmp_path / "run" / "a").read_text() == text
        assert names(tmp_path) == ["run"]


@pytest.mark.skipif(sys.platform != "linux", reason="folders are exchanged on Linux alone")
def test_an_overwritten_folder_is_there_at_every_instant(tmp_path: Path) -> None:
    put(tmp_path / "run", "0")
    done = threading.Event()
    seen: list[bool] = []

    def watch() -> None:
        while not done.is_set():
            seen.append((tmp_path / "run").exists())

    watcher = threading.Thread(target=watch)
    watcher.start()
    for turn in range(200):
        put(tmp_path / "run", str(turn))
    done.set()
    watcher.join()
    assert all(seen)


@pytest.mark.parametrize("write", [put, atomic_write_text])
def test_the_next_writer_removes_what_a_killed_one_left(
    tmp_path: Path, write: Callable[[Path, str], None]
) -> None:
    code = f"""
import sys, time
from pathlib import Path
from adwright.core.atomic import atomic_folder
from adwright.core.atomic import new_file
with {"atomic_folder" if write is put else "new_file"}(Path(sys.argv[1])):
    print("ready", flush=True)
    time.sleep(60)
"""
    command = [sys.executable, "-c", code, str(tmp_path / "run")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        write(tmp_path / "run", "by another process")
        assert len(names(tmp_path)) == 2  # its writer lives
        process.send_signal(signal.SIGKILL)
    write(tmp_path / "run", "after its death")
    assert names(tmp_path) == ["run"]


@pytest.mark.parametrize("overwrite", [False, True])
def test_refuses_a_file_or_a_link_in_its_place(tmp_path: Path, overwrite: bool) -> None:
    (tmp_path / "file").write_text("keep")
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    for name in ("file", "link"):
        with (
            pytest.raises(ResourceError, match="not a folder"),
            atomic_folder(tmp_path / name, overwrite=overwrite),
        ):
            pass
    assert names(tmp_path) == ["file", "link", "real"]


def write_twice(path: Path) -> None:
    with atomic_folder(path) as slow:
        (slow / "a").write_text("slow")
        with atomic_folder(path) as fast:
            (fast / "a").write_text("fast")


def test_loser_of_a_race_does_not_destroy_the_winner(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match="exists already"):
        write_twice(tmp_path / "run")
    assert (tmp_path / "run" / "a").read_text() == "fast"
    assert names(tmp_path) == ["run"]


@pytest.mark.parametrize(
    "write",
    [
        "atomic_write_bytes(out, bytes(9999))",
        "shutil.copytree(sys.argv[2], new, dirs_exist_ok=True)",
        "save_file({'a': np.zeros(9999)}, new / 'a.safetensors')",
        "pl.DataFrame({'a': np.arange(9999) ** 3}).write_parquet(new / 'a.parquet')",
    ],
)
def test_what_the_system_refuses_is_a_resource_error(tmp_path: Path, write: str) -> None:
    """A refusal by the real operating system, not a simulated one, as each library tells it."""
    block = f"with atomic_folder(out) as new: {write}" if "new" in write else write
    code = f"""
import resource, shutil, signal, sys
import numpy as np, polars as pl
from safetensors.numpy import save_file
from adwright.core.atomic import atomic_folder, atomic_write_bytes
from adwright.core.errors import ResourceError
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
out = sys.argv[1]
try:
    {block}
except ResourceError as error:
    sys.exit(0 if "larger than allowed" in str(error) and out in str(error) else 1)
sys.exit(2)
"""
    (tmp_path / "had").mkdir()
    (tmp_path / "had" / "a").write_bytes(bytes(9999))
    words = [sys.executable, "-c", code, str(tmp_path / "out"), str(tmp_path / "had")]
    assert subprocess.run(words, check=False).returncode == 0
    assert names(tmp_path) == ["had"]


def test_killed_process_leaves_no_visible_file(tmp_path: Path) -> None:
    code = """
import sys, time
from adwright.core.atomic import atomic_folder
with atomic_folder(sys.argv[1]) as folder:
    (folder / "a").write_text("half")
    print("ready", flush=True)
    time.sleep(60)
"""
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path / "run")], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGKILL)
    assert not (tmp_path / "run").exists()
    assert all(name.startswith(".run.") for name in names(tmp_path))


def test_reader_never_sees_a_part(tmp_path: Path) -> None:
    path = tmp_path / "a"
    code = """
import sys
import threading
from adwright.core.atomic import atomic_write_bytes
for turn in range(100):
    atomic_write_bytes(sys.argv[1], bytes([turn]) * 50_000)
"""
    atomic_write_bytes(path, b"\0" * 50_000)
    with subprocess.Popen([sys.executable, "-c", code, str(path)]) as process:
        deadline = time.monotonic() + 15
        while process.poll() is None and time.monotonic() < deadline:
            data = path.read_bytes()
            assert len(data) == 50_000
            assert len(set(data)) == 1
    assert process.returncode == 0


def test_resource_error_says_what_to_do() -> None:
    error = resource_error(OSError(errno.EROFS, "x"), "/somewhere")
    assert str(error) == (
        "the file system is read-only [/somewhere] -> choose a folder that you may write to"
    )
    assert resource_error(OSError(errno.ENOENT, "x"), "/somewhere") is None


def test_a_lock_is_held_by_one_at_a_time_and_made_with_its_folder(tmp_path: Path) -> None:
    lock, order = tmp_path / "new" / ".lock", []

    def wait() -> None:
        with locked(lock):
            order.append("second")

    with locked(lock):
        other = threading.Thread(target=wait)
        other.start()
        other.join(0.05)
        assert other.is_alive()
        order.append("first")
    other.join(5)
    assert order == ["first", "second"]


def test_a_lock_is_free_after_an_error(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(KeyError), locked(tmp_path / ".lock"):
            raise KeyError


def test_a_lock_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match="a folder"), locked(tmp_path / "file" / ".lock"):
        pass


def test_a_folder_that_is_not_there_is_not_synced(tmp_path: Path) -> None:
    sync_folder(tmp_path / "none")
    sync_folder(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="there is no /proc here")
def test_where_no_folder_can_be_made_it_says_so() -> None:
    with pytest.raises(ResourceError, match=r"no folder can be made here .*/proc/x"):
        atomic_write_text("/proc/x/file", "text")
    with (
        pytest.raises(ResourceError, match="no folder can be made here"),
        atomic_folder("/proc/x/folder"),
    ):
        pass


def test_a_claim_is_refused_while_another_holds_it(tmp_path: Path) -> None:
    path = tmp_path / "new" / "lock"
    let_go = claim(path, mode=0o600)
    assert let_go is not None
    assert path.stat().st_mode & 0o777 == 0o600
    assert claim(path) is None
    let_go()
    again = claim(path)
    assert again is not None
    again()


def test_a_file_that_a_library_writes_appears_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "t.csv"
    with atomic_file(path) as temporary:
        temporary.write_text("a")
        assert not path.exists()
    for error in (KeyError("x"), PermissionError(13, "another file")):
        with pytest.raises(type(error)), atomic_file(path):
            raise error
    with pytest.raises(ResourceError, match="disk is full"), atomic_file(path):
        raise OSError(errno.ENOSPC, "No space left on device")
    assert (names(path.parent), path.read_text()) == (["t.csv"], "a")


def left_behind(path: Path) -> Path:
    with new_folder(path) as temporary:
        (temporary / "half").write_text("half")
    return temporary


def test_what_is_written_is_hidden_beside_its_name(tmp_path: Path) -> None:
    with new_file(tmp_path / "a") as (temporary, descriptor):
        os.write(descriptor, b"1")
        assert temporary.parent == tmp_path
        assert temporary.name.startswith(".a.")
        assert temporary.read_bytes() == b"1"
    with new_folder(tmp_path / "a") as folder:
        assert list(folder.iterdir()) == []
    assert len(names(tmp_path)) == 2


def test_only_what_nobody_writes_any_more_is_removed(tmp_path: Path) -> None:
    dead = left_behind(tmp_path / "a")
    others = [left_behind(tmp_path / "a.b"), left_behind(tmp_path / "b"), tmp_path / ".a.lock"]
    others[-1].touch()
    (tmp_path / ".a.zzz.tmp").mkdir()
    with new_folder(tmp_path / "a") as folder, new_file(tmp_path / "a") as (file, _):
        remove_dead(tmp_path / "a")
        kept = [folder, file, *others, tmp_path / ".a.zzz.tmp"]
        assert names(tmp_path) == sorted(path.name for path in kept)
        assert not dead.exists()
    remove_dead(tmp_path / "a")
    assert not folder.exists()
    assert not file.exists()
    remove_dead(tmp_path / "none" / "a")


def test_the_only_copy_of_a_folder_stays(tmp_path: Path) -> None:
    old = aside_of(tmp_path / "a")
    old.mkdir()
    remove_dead(tmp_path / "a")
    assert old.exists()
    (tmp_path / "a").mkdir()
    remove_dead(tmp_path / "a")
    assert names(tmp_path) == ["a"]


def test_who_loses_its_folder_before_it_is_locked_makes_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flock, lost = fcntl.flock, list[str]()

    def slow(descriptor: int, how: int) -> Any:
        if how == fcntl.LOCK_EX and not lost:
            lost.extend(names(tmp_path))
            remove_dead(tmp_path / "a")
        return flock(descriptor, how)

    monkeypatch.setattr(fcntl, "flock", slow)
    with new_folder(tmp_path / "a") as folder:
        assert folder.is_dir()
        assert lost
        assert folder.name not in lost
    lost.clear()
    with new_file(tmp_path / "a") as (file, descriptor):
        os.write(descriptor, b"1")
        assert file.read_bytes() == b"1"


def test_without_locks_nothing_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError("no locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    dead = left_behind(tmp_path / "a")
    remove_dead(tmp_path / "a")
    assert dead.exists()


def test_who_loses_its_folder_before_it_is_opened_makes_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mkdir, lost = Path.mkdir, list[str]()

    def slow(path: Path) -> None:
        mkdir(path)
        if not lost:
            lost.extend(names(tmp_path))
            remove_dead(tmp_path / "a")

    monkeypatch.setattr(Path, "mkdir", slow)
    with new_folder(tmp_path / "a") as folder:
        assert names(tmp_path) == [folder.name]
        assert folder.name not in lost
