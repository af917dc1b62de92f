from __future__ import annotations

import base64
import hashlib
import json
import os
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest

from adwright.core import assets
from adwright.core import assets as module
from adwright.core.assets import (
    RECORD,
    AssetName,
    Pin,
    asset,
    cache_folder,
    derived,
    is_complete,
    naming_the_cache,
    pins,
    write_record,
)
from adwright.core.errors import AssetError, ResourceError
from adwright.core.hashing import sha256_file

MEMBERS = {
    "tiny/data/a.csv": b"x,y\n1,2\n",
    "tiny/data/deep/b.csv": b"z\n",
    "tiny/data/.DS_Store": b"junk",
    "tiny/__init__.py": b"raise RuntimeError('the code of an asset must never run')",
}


def make_wheel(
    folder: Path, members: dict[str, bytes] = MEMBERS, tag: str = "py3-none-any"
) -> Path:
    """A real wheel, small, that pip accepts; its package is named obp like a real asset."""
    info = "obp-9.9.9.dist-info"
    contents = members | {
        f"{info}/METADATA": b"Metadata-Version: 2.1\nName: obp\nVersion: 9.9.9\n"
        b"Requires-Python: <3\nRequires-Dist: no-such-package-anywhere\n",
        f"{info}/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\n"
        + f"Tag: {tag}\n".encode(),
    }
    record = [
        f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).decode()}"
        f",{len(data)}"
        for name, data in contents.items()
    ]
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"obp-9.9.9-{tag}.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for name, data in contents.items():
            archive.writestr(zipfile.ZipInfo(name, (2024, 1, 1, 0, 0, 0)), data)
        archive.writestr(f"{info}/RECORD", "\n".join(record))
    return path


def tiny_pin(wheel: Path) -> Pin:
    return Pin("obp", "9.9.9", sha256_file(wheel), ("tiny/data/",), "tiny/data/a.csv", "tiny")


@pytest.fixture
def wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The pinned wheel of `obp` is a tiny one, which pip finds in a local folder only."""
    path = make_wheel(tmp_path / "index")
    monkeypatch.setitem(pins(), "obp", tiny_pin(path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(path.parent))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.delenv("ADWRIGHT_OFFLINE", raising=False)
    return path


@pytest.fixture
def no_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    """Any attempt to start pip fails the test."""

    def refuse(*_: Any, **__: Any) -> None:
        raise RuntimeError("pip was started")

    monkeypatch.setattr(assets.subprocess, "run", refuse)


def files_under(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != ".adwright-asset.json"
    }


WANTED = {name: MEMBERS[name] for name in ("tiny/data/a.csv", "tiny/data/deep/b.csv")}


def test_downloads_checks_and_unpacks_the_needed_files(tmp_path: Path, wheel: Path) -> None:
    folder = asset("obp", cache=tmp_path / "cache")
    assert files_under(folder) == WANTED
    visible = [path for path in (tmp_path / "cache").iterdir() if path.name[0] != "."]
    assert visible == [folder]


def test_a_wheel_for_another_machine_is_had_for_its_data(
    tmp_path: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    wheel.unlink()
    other = make_wheel(tmp_path / "index", tag="cp399-cp399-win_arm64")
    monkeypatch.setitem(pins(), "obp", tiny_pin(other))
    with pytest.raises(AssetError, match="No matching distribution"):
        asset("obp", cache=tmp_path / "cache")
    pin = replace(tiny_pin(other), built_for=("3.99", "win_arm64"))
    monkeypatch.setitem(pins(), "obp", pin)
    with pytest.raises(AssetError, match=r"--python-version 3\.99 --platform win_arm64"):
        asset("obp", cache=tmp_path / "cache", offline=True)
    assert files_under(asset("obp", cache=tmp_path / "cache")) == WANTED


def test_leaves_no_wheel_behind(tmp_path: Path, wheel: Path) -> None:
    asset("obp", cache=tmp_path / "cache")
    assert list((tmp_path / "cache").rglob("*.whl")) == []
    assert list((tmp_path / "cache").glob("*.tmp")) == []


def test_second_call_downloads_nothing(
    tmp_path: Path, wheel: Path, request: pytest.FixtureRequest
) -> None:
    first = asset("obp", cache=tmp_path / "cache")
    request.getfixturevalue("no_pip")
    assert asset("obp", cache=tmp_path / "cache") == first
    assert asset("obp", cache=tmp_path / "cache", offline=True) == first


@pytest.mark.usefixtures("no_pip")
def test_offline_says_how_to_get_it(
    tmp_path: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(AssetError, match=r"switched off .*pip download --no-deps obp==9\.9\.9"):
        asset("obp", cache=tmp_path / "cache", offline=True)
    monkeypatch.setenv("ADWRIGHT_OFFLINE", "1")
    with pytest.raises(AssetError, match="switched off"):
        asset("obp", cache=tmp_path / "cache")
    monkeypatch.setenv("ADWRIGHT_OFFLINE", "0")
    with pytest.raises(RuntimeError, match="pip was started"):
        asset("obp", cache=tmp_path / "cache")


@pytest.mark.usefixtures("no_pip")
def test_own_wheel(tmp_path: Path, wheel: Path) -> None:
    folder = asset("obp", path=wheel, cache=tmp_path / "cache", offline=True)
    assert files_under(folder) == WANTED
    assert asset("obp", cache=tmp_path / "cache", offline=True) == folder


@pytest.mark.usefixtures("no_pip")
def test_own_unpacked_folder_is_used_where_it_lies(tmp_path: Path, wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path / "mine")
    assert asset("obp", path=tmp_path / "mine", cache=tmp_path / "cache") == tmp_path / "mine"
    assert not (tmp_path / "cache").exists()


@pytest.mark.usefixtures("no_pip")
def test_wrong_path(tmp_path: Path, wheel: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(AssetError, match=r"does not hold obp unpacked: tiny/data/a\.csv"):
        asset("obp", path=tmp_path / "empty")
    with pytest.raises(AssetError, match="no such wheel"):
        asset("obp", path=tmp_path / "none.whl", cache=tmp_path / "cache")


def test_changed_wheel_is_refused_also_where_the_cache_is_full(tmp_path: Path, wheel: Path) -> None:
    asset("obp", cache=tmp_path / "cache")
    wheel.write_bytes(wheel.read_bytes() + b"\0")
    with pytest.raises(AssetError, match="not the pinned wheel"):
        asset("obp", path=wheel, cache=tmp_path / "cache")


def test_changed_download_is_refused_and_leaves_nothing(
    tmp_path: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(pins(), "obp", replace(pins()["obp"], sha256="0" * 64))
    with pytest.raises(AssetError, match="not the pinned wheel: its SHA-256 is"):
        asset("obp", cache=tmp_path / "cache")
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]


def test_failed_download_gives_the_words_of_pip(
    tmp_path: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "cache"))
    with pytest.raises(AssetError, match="No matching distribution") as caught:
        asset("obp", cache=tmp_path / "cache")
    assert "pass that wheel as the path" in str(caught.value)


def test_python_without_pip(tmp_path: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = subprocess.run

    def without_pip(command: list[str], **options: Any) -> Any:
        return run([command[0], "-m", "no_such_pip", *command[3:]], **options)

    monkeypatch.setattr(assets.subprocess, "run", without_pip)
    with pytest.raises(AssetError, match="No module named no_such_pip"):
        asset("obp", cache=tmp_path / "cache")


def test_full_disk_while_pip_writes(
    tmp_path: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(command: list[str], **_: Any) -> Any:
        words = "ERROR: Could not install: [Errno 28] No space left on device: 'a' -> 'b'"
        return subprocess.CompletedProcess(command, 1, "", words)

    monkeypatch.setattr(assets.subprocess, "run", full)
    with pytest.raises(ResourceError, match=r"disk is full .*cache"):
        asset("obp", cache=tmp_path / "cache")
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]


def test_slow_download_ends(tmp_path: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def slow(command: list[str], **options: Any) -> Any:
        raise subprocess.TimeoutExpired(command, options["timeout"])

    monkeypatch.setattr(assets.subprocess, "run", slow)
    with pytest.raises(AssetError, match="took longer than"):
        asset("obp", cache=tmp_path / "cache")


@pytest.mark.parametrize("harm", ["truncate", "delete", "record"])
def test_damaged_cache_is_filled_again(tmp_path: Path, wheel: Path, harm: str) -> None:
    folder = asset("obp", cache=tmp_path / "cache")
    if harm == "truncate":
        (folder / "tiny/data/a.csv").write_bytes(b"")
    elif harm == "delete":
        (folder / "tiny/data/a.csv").unlink()
    else:
        (folder / ".adwright-asset.json").write_text("{")
    assert files_under(asset("obp", cache=tmp_path / "cache")) == WANTED


def test_unwritable_cache(tmp_path: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache").mkdir()

    def refuse(*_: Any) -> int:
        raise PermissionError(13, "Permission denied")

    # Simulated, since the administrator may write everywhere.
    monkeypatch.setattr(assets.os, "open", refuse)
    with pytest.raises(ResourceError, match="no permission to write"):
        asset("obp", cache=tmp_path / "cache")


def in_process(wheel: Path, cache: Path, lines: str) -> list[str]:
    code = f"""
import sys, time
from pathlib import Path
from adwright.core import assets
from adwright.core.assets import pins, Pin, asset
pins()["obp"] = {tiny_pin(wheel)!r}
{lines}
"""
    return [sys.executable, "-c", code, str(cache)]


def test_concurrent_calls_share_one_download(tmp_path: Path, wheel: Path) -> None:
    lines = """
download = assets._download
def counted(pin, folder):
    print("download")
    return download(pin, folder)
assets._download = counted
print(asset("obp", cache=Path(sys.argv[1])))
"""
    command = in_process(wheel, tmp_path / "cache", lines)
    running = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(4)]
    words = [process.communicate(timeout=300)[0].split() for process in running]
    assert all(process.returncode == 0 for process in running)
    flat = [word for line in words for word in line]
    assert flat.count("download") == 1
    assert len(set(flat)) == 2
    assert files_under(asset("obp", cache=tmp_path / "cache")) == WANTED


def test_killed_download_blocks_nobody_and_its_remains_go(tmp_path: Path, wheel: Path) -> None:
    lines = """
def stuck(pin, folder):
    (folder / "half.whl").write_bytes(b"half")
    print("ready", flush=True)
    time.sleep(60)
assets._download = stuck
asset("obp", cache=Path(sys.argv[1]))
"""
    command = in_process(wheel, tmp_path / "cache", lines)
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGKILL)
    assert list((tmp_path / "cache").rglob("half.whl")) != []
    assert files_under(asset("obp", cache=tmp_path / "cache")) == WANTED
    assert list((tmp_path / "cache").rglob("half.whl")) == []


def test_unknown_name(tmp_path: Path) -> None:
    name: Any = "movielens"
    with pytest.raises(AssetError, match=r"no asset 'movielens'.*recbole"):
        asset(name, cache=tmp_path)


def test_every_name_has_a_pin() -> None:
    assert set(pins()) == set(get_args(AssetName))
    for pin in pins().values():
        assert len(pin.sha256) == 64
        assert pin.takes(pin.example)


def test_cache_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ADWRIGHT_CACHE", "~/here")
    assert cache_folder() == Path.home() / "here"
    monkeypatch.delenv("ADWRIGHT_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", "/xdg")
    assert cache_folder() == Path("/xdg/adwright")
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert cache_folder() == Path.home() / ".cache" / "adwright"


@pytest.mark.skipif(
    os.environ.get("ADWRIGHT_OFFLINE", "") not in ("", "0"),
    reason="downloads are switched off by ADWRIGHT_OFFLINE",
)
def test_real_download(tmp_path: Path) -> None:
    folder = asset("obp", cache=tmp_path)
    with open(folder / pins()["obp"].example, encoding="utf-8") as stream:
        assert "propensity_score" in stream.readline()


def fill(folder: Path) -> None:
    (folder / "deep").mkdir()
    (folder / "deep" / "weights").write_bytes(b"12345")


def test_what_is_derived_is_made_once(tmp_path: Path) -> None:
    calls: list[Path] = []

    def make(folder: Path) -> None:
        calls.append(folder)
        fill(folder)

    first = derived("model-1", make, cache=tmp_path)
    assert derived("model-1", make, cache=tmp_path) == first == tmp_path / "model-1"
    assert len(calls) == 1
    assert (first / "deep" / "weights").read_bytes() == b"12345"
    derived("model-2", make, cache=tmp_path)
    assert len(calls) == 2
    (first / "deep" / "weights").write_bytes(b"1")
    derived("model-1", make, cache=tmp_path)
    assert (first / "deep" / "weights").read_bytes() == b"12345"


def test_what_fails_halfway_leaves_nothing_derived(tmp_path: Path) -> None:
    def broken(folder: Path) -> None:
        fill(folder)
        raise ValueError("halfway")

    with pytest.raises(ValueError, match="halfway"):
        derived("model", broken, cache=tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [".model.lock"]
    (tmp_path / ".model.0000.tmp").mkdir()
    derived("model", fill, cache=tmp_path)
    assert not list(tmp_path.glob("*.tmp"))


DERIVING = """
import sys, time
from pathlib import Path
from adwright.core.assets import derived

def make(folder):
    with open(sys.argv[2], "a") as log:
        log.write("made\\n")
    time.sleep(0.5)
    (folder / "file").write_text("x")

derived("model", make, cache=Path(sys.argv[1]))
"""


def test_two_processes_derive_once(tmp_path: Path) -> None:
    log = tmp_path / "log"
    command = [sys.executable, "-c", DERIVING, str(tmp_path / "cache"), str(log)]
    both = [subprocess.Popen(command) for _ in range(2)]
    assert [one.wait(60) for one in both] == [0, 0]
    assert log.read_text() == "made\n"


@pytest.mark.usefixtures("no_pip")
def test_a_wheel_exchanged_after_the_look_at_it_is_not_unpacked(
    tmp_path: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evil = make_wheel(tmp_path / "evil", MEMBERS | {"tiny/data/a.csv": b"EVIL"})
    lock = assets.locked

    def exchange(path: Path) -> Any:
        evil.replace(wheel)
        return lock(path)

    monkeypatch.setattr(assets, "locked", exchange)
    with pytest.raises(AssetError, match="not the pinned wheel"):
        asset("obp", path=wheel, cache=tmp_path / "cache")
    assert [path.suffix for path in (tmp_path / "cache").iterdir()] == [".lock"]


@pytest.mark.usefixtures("no_pip")
def test_a_wheel_may_be_a_link_but_no_pipe(tmp_path: Path, wheel: Path) -> None:
    (tmp_path / "link.whl").symlink_to(wheel)
    folder = asset("obp", path=tmp_path / "link.whl", cache=tmp_path / "cache")
    assert files_under(folder) == WANTED
    os.mkfifo(tmp_path / "pipe.whl")
    with pytest.raises(AssetError, match="no regular file"):
        asset("obp", path=tmp_path / "pipe.whl", cache=tmp_path / "cache")


def test_a_changed_byte_in_the_cache_is_noticed(tmp_path: Path, wheel: Path) -> None:
    folder = asset("obp", cache=tmp_path / "cache")
    (folder / "tiny/data/a.csv").write_bytes(b"x,y\n1,3\n")
    assert files_under(asset("obp", cache=tmp_path / "cache")) == WANTED


def test_of_a_cache_that_cannot_be_written_it_says_how_to_name_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ADWRIGHT_CACHE", "/proc/x")
    for call in (lambda: asset("obp"), lambda: derived("made", lambda _: None)):
        with pytest.raises(ResourceError, match="ADWRIGHT_CACHE names that of the cache"):
            call()
    full = ResourceError("full", where="here", hint="free some")
    for folder, said in ((Path("/proc/x/tasks"), True), (tmp_path, False)):
        with pytest.raises(ResourceError) as caught, naming_the_cache(folder):
            raise full
        assert ("ADWRIGHT_CACHE" in caught.value.hint) is said


def test_more_is_added(tmp_path: Path, wheel: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    less = replace(tiny_pin(wheel), needed=("tiny/data/a.csv",))
    for pin, count in ((less, 1), (replace(less, needed=(*less.needed, "tiny/data/deep/")), 2)):
        monkeypatch.setitem(pins(), "obp", pin)
        assert len(files_under(asset("obp", cache=tmp_path / "cache"))) == count


@pytest.fixture
def kept(tmp_path: Path) -> Path:
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "a").write_bytes(b"12345")
    (tmp_path / "b").write_bytes(b"")
    write_record(tmp_path, ["deep/a", "b"])
    return tmp_path


def test_what_was_recorded_is_complete(kept: Path) -> None:
    assert is_complete(kept)
    assert not is_complete(kept / "deep")


def unchanged_size(kept: Path) -> None:
    status = (kept / "deep" / "a").stat()
    (kept / "deep" / "a").write_bytes(b"12344")
    os.utime(kept / "deep" / "a", ns=(status.st_atime_ns, status.st_mtime_ns))


def exchanged(kept: Path) -> None:
    (kept / "deep" / "a").rename(kept / "aside")
    (kept / "deep" / "a").symlink_to(kept / "aside")


@pytest.mark.parametrize(
    "spoil",
    [
        unchanged_size,
        exchanged,
        lambda kept: (kept / "deep" / "a").write_bytes(b"1"),
        lambda kept: (kept / "b").unlink(),
        lambda kept: (kept / RECORD).unlink(),
        lambda kept: ((kept / "b").unlink(), os.mkfifo(kept / "b")),
        lambda kept: ((kept / RECORD).unlink(), os.mkfifo(kept / RECORD)),
    ],
)
def test_a_folder_that_was_changed_is_not(kept: Path, spoil: Callable[[Path], object]) -> None:
    spoil(kept)
    assert not is_complete(kept)


@pytest.mark.parametrize(
    "text",
    [
        *("", "{", "{}", "[]", "null", "3", '"b"', "[" * 100_000),
        *('{"b": null}', '{"b": []}', '{"b": {}}', '{"b": true}', '{"b": "0"}', '{"b": -1}'),
        *('{"../x": 0}', '{"/dev/null": 0}', '{"": 0}', '{".": 0}', '{"a//b": 0}'),
        '{"b": {"bytes": 0, "sha256": "0"}}',
    ],
)
def test_a_record_that_is_none(kept: Path, text: str) -> None:
    (kept / RECORD).write_text(text)
    assert not is_complete(kept)


def test_sizes_of_an_earlier_version_are_believed_once(kept: Path) -> None:
    (kept / RECORD).write_text(json.dumps({"deep/a": 5, "b": 0}))
    assert is_complete(kept)
    assert json.loads((kept / RECORD).read_text())["deep/a"]["bytes"] == 5
    unchanged_size(kept)
    assert not is_complete(kept)


def test_a_file_is_hashed_again_only_where_it_was_touched(
    kept: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed, whole = list[str](), module.sha256_file

    def spy(path: Path) -> str:
        hashed.append(path.name)
        return whole(path)

    monkeypatch.setattr(module, "sha256_file", spy)
    assert is_complete(kept)
    assert hashed == []
    os.utime(kept / "b")
    for _ in range(2):
        assert is_complete(kept)
        assert hashed == ["b"]
