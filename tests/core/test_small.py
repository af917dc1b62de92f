"""?"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import pickle
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta, timezone
from importlib.metadata import version
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import adwright
from adwright.core import errors
from adwright.core.addresses import login_of, shown_address
from adwright.core.child_process import JsonLines, WorkerProcess
from adwright.core.clock import Clock, FixedClock, SystemClock
from adwright.core.environment import environment
from adwright.core.errors import (
    AdwrightError,
    ArtifactCorruptError,
    ArtifactError,
    ArtifactUnsafeError,
    ConfigError,
    DataError,
    FileUnreadableError,
    MissingExtraError,
    ResourceError,
    SchemaError,
    ValueInvalidError,
)
from adwright.core.hashing import content_hash, sha256_bytes, sha256_file
from adwright.core.log_repeats import LogRepeats, fewer_repeats
from adwright.core.regular import memory_bytes, open_regular, read_regular
from adwright.core.version import __version__

WORKER = "adwright.lm.compiling.rehearsal"
SETTINGS = {"seconds": 1, "memory_bytes": 1 << 30}


def refusal(told: str, log: Path) -> AdwrightError:
    return ConfigError(told + log.read_text("utf-8"), where="x", hint="y")


def test_a_life_from_its_start_to_its_end() -> None:
    life = WorkerProcess(WORKER, SETTINGS)
    life.ready(60, refusal)
    assert life.alive
    assert life.ending == ""
    assert not life.gone_within(0.05)
    assert life.folder.stat().st_mode & 0o77 == 0
    with closing(JsonLines(life.connect())) as lines:
        lines.say({"kind": "template", "text": "tea"}, {"kind": "no", "text": ""})
        assert lines.waits(20)
        assert [lines.next(), lines.next()] == [{"form": ""}, {"error": "there is no kind no"}]
        assert not lines.waits(0.05)
        os.kill(life.pid, signal.SIGKILL)
        assert list(lines) == []
    assert life.gone_within(20)
    assert (life.alive, life.ending, life.code) == (False, "was killed by SIGKILL", -9)
    with pytest.raises(OSError, match="refused"):
        life.connect()
    life.end()
    life.end()
    assert not life.folder.exists()


def test_why_it_is_not_ready() -> None:
    for module, told in ((WORKER, "KeyError"), ("adwright.nowhere", "ended with code 1")):
        life = WorkerProcess(module, {})
        with pytest.raises(ConfigError, match=told):
            life.ready(60, refusal)
        life.end()
    # It reads its input to the end, and says nothing before.
    life = WorkerProcess("json.tool", SETTINGS)
    began = time.monotonic()
    with pytest.raises(ResourceError, match="has not opened"):
        life.ready(0.5, refusal)
    assert time.monotonic() - began < 20
    life.kill()
    assert life.gone_within(20)
    life.end()


FOLLOW = (
    "import os, pathlib, sys, time\n"
    "from adwright.core import child_process as worker\n"
    "worker._LOOK_SECONDS = 0.05\n"
    "worker.follow(int(sys.argv[1]), 0, pathlib.Path(sys.argv[2]))\n"
)


def following(parent: int, folder: Path) -> subprocess.Popen[bytes]:
    folder.mkdir()
    return subprocess.Popen(
        [sys.executable, "-c", FOLLOW, str(parent), str(folder)], stdin=subprocess.PIPE
    )


def test_it_ends_with_its_lifeline(tmp_path: Path) -> None:
    process = following(os.getpid(), tmp_path / "a")
    time.sleep(0.2)
    assert process.poll() is None
    process.communicate()
    assert process.returncode == 0
    assert not (tmp_path / "a").exists()


def test_it_ends_where_its_parent_is_another_one(tmp_path: Path) -> None:
    process = following(os.getpid() + 1, tmp_path / "a")
    assert process.wait(20) == 0
    assert not (tmp_path / "a").exists()
    process.communicate()


def told_by(code: str, tmp_path: Path) -> tuple[dict[str, object], int]:
    """The line that a worker writes, and its exit code once its lifeline ends."""
    settings = {"socket": str(tmp_path / "inner" / "s"), "parent": os.getpid()}
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(settings) + "\n")
        process.stdin.flush()
        line = json.loads(process.stdout.readline())
        if "ready" in line:  # one that failed ends by itself
            process.stdin.close()
        return line, process.wait(20)


def test_a_worker_tells_how_it_is_in_one_line(tmp_path: Path) -> None:
    begin = "from adwright.core.child_process import take_up\nline = take_up()\n"
    printed = "print('what native code prints')\n"
    assert told_by(begin + printed + "line.ready()\nline.watch.join()", tmp_path) == (
        {"ready": True},
        0,
    )
    assert told_by(begin + "line.failed(ValueError('broken'))", tmp_path) == (
        {"error": "broken"},
        1,
    )


def test_lines_end_where_the_connection_does_and_may_be_bounded() -> None:
    one, other = socket.socketpair()
    with closing(JsonLines(one)) as ours, closing(JsonLines(other)) as theirs:
        threading.Thread(target=lambda: [theirs.say({"n": n}) for n in range(1000)]).start()
        assert [ours.next()["n"] for _ in range(1000)] == list(range(1000))
        theirs.say({"long": "x" * 100})
        with pytest.raises(EOFError):
            ours.next(50)
        theirs.shut()
        theirs.shut()
        with pytest.raises(ValueError, match="Expecting"):
            ours.next()
        assert list(ours) == []


def test_system_clock_is_in_utc_and_moves_forward() -> None:
    clock: Clock = SystemClock()
    before = clock.monotonic()
    assert clock.now().utcoffset() == timedelta(0)
    assert abs((clock.now() - datetime.now(UTC)).total_seconds()) < 5
    assert clock.monotonic() >= before


def test_fixed_clock_stands_still_until_advanced() -> None:
    clock = FixedClock(datetime(2024, 2, 28, 23, 0, tzinfo=UTC))
    assert clock.now() == clock.now()
    clock.advance(3600.5)
    assert clock.now() == datetime(2024, 2, 29, 0, 0, 0, 500_000, tzinfo=UTC)
    assert clock.monotonic() == 3600.5


def test_fixed_clock_converts_to_utc() -> None:
    east = timezone(timedelta(hours=2))
    clock = FixedClock(datetime(2024, 1, 1, 2, 0, tzinfo=east))
    assert clock.now() == datetime(2024, 1, 1, tzinfo=UTC)
    assert clock.now().utcoffset() == timedelta(0)


def test_fixed_clock_refuses_a_moment_without_timezone() -> None:
    with pytest.raises(ValueError, match="timezone"):
        FixedClock(datetime(2024, 1, 1))


@pytest.mark.parametrize("seconds", [-1.0, float("nan")])
def test_time_does_not_run_backwards(seconds: float) -> None:
    with pytest.raises(ValueError, match="advanced"):
        FixedClock().advance(seconds)


def test_the_environment_is_put_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_NAME_THAT_IS_SET", "old")
    with environment({"A_NAME_THAT_IS_SET": "new", "ANOTHER_NAME": "new"}):
        assert os.environ["A_NAME_THAT_IS_SET"] == "old"
        assert os.environ["ANOTHER_NAME"] == "new"
    assert "ANOTHER_NAME" not in os.environ


def every_error() -> list[type[AdwrightError]]:
    return [
        each
        for each in vars(errors).values()
        if isinstance(each, type) and issubclass(each, AdwrightError)
    ]


def test_message_has_the_three_parts() -> None:
    error = AdwrightError("it broke", where="a.toml, key x", hint="mend it")
    assert str(error) == "it broke [a.toml, key x] -> mend it"


@pytest.mark.parametrize(
    ("where", "hint", "text"),
    [("", "", "it broke"), ("here", "", "it broke [here]"), ("", "mend it", "it broke -> mend it")],
)
def test_empty_parts_leave_no_trace(where: str, hint: str, text: str) -> None:
    assert str(AdwrightError("it broke", where=where, hint=hint)) == text


def test_data_error_names_file_row_column_and_value() -> None:
    error = DataError("bad price", file="a.csv", row=0, column="price", value=-1.5, hint="drop it")
    assert str(error) == "bad price [a.csv, row 0, column price, value -1.5] -> drop it"
    assert (error.file, error.row, error.column, error.value) == ("a.csv", 0, "price", -1.5)


def test_data_error_can_show_none_but_leaves_out_what_was_not_given() -> None:
    assert str(DataError("bad", value=None)) == "bad [value None]"
    assert str(DataError("bad")) == "bad"


def test_long_value_is_shortened_in_the_message_only() -> None:
    error = DataError("bad", value="x" * 1000)
    assert len(str(error)) < 120
    assert error.value == "x" * 1000


def test_tree() -> None:
    for kind in every_error():
        assert issubclass(kind, AdwrightError)
    assert SchemaError.__bases__ == (DataError,)
    assert ValueInvalidError.__bases__ == (DataError,)
    assert FileUnreadableError.__bases__ == (DataError,)
    assert ArtifactCorruptError.__bases__ == (ArtifactError,)
    assert ArtifactUnsafeError.__bases__ == (ArtifactError,)
    assert not issubclass(ConfigError, DataError)


def test_the_drawn_tree_names_each_class() -> None:
    for kind in every_error():
        assert kind.__name__ in (errors.__doc__ or "")


@pytest.mark.parametrize("kind", every_error())
def test_survives_the_trip_between_processes(kind: type[AdwrightError]) -> None:
    if kind is MissingExtraError:
        error: AdwrightError = MissingExtraError("the HTTP service", "service")
    elif issubclass(kind, DataError):
        error = kind("bad", file="a.csv", row=3, column="c", value=[1], hint="h")
    else:
        error = kind("bad", where="w", hint="h")
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 - our own bytes, as a pool makes them
    assert type(copy) is kind
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


def test_missing_extra_gives_the_command() -> None:
    error = MissingExtraError("the HTTP service", "service")
    assert "pip install 'adwright[service]'" in str(error)
    assert (error.feature, error.extra) == ("the HTTP service", "service")


def test_passwords_of_addresses_are_masked_everywhere() -> None:
    url = "http://shop:p@ss:word@host:8000/v1?api_key=abc&x=1"
    shown = "http://shop:***@host:8000/v1?api_key=***&x=1"
    error = AdwrightError(f"no answer of {url}", where=url, hint=f"look at '{url}'")
    assert str(error) == f"no answer of {shown} [{shown}] -> look at '{shown}'"
    assert pickle.loads(pickle.dumps(error)).args == (f"no answer of {shown}",)  # noqa: S301
    for secret in (
        "https://h/v1?access_token=S",
        "https://h/v1?x=1&X-Api-Key=S&y=2",
        "https://h/v1?subscription-key=S",
        "https://h/c?sv=1&sig=S",
        "https://S@h/v1",
        "https://S:@h/v1",
        "https://S@S@h/v1",
        "http://me@shop.com:S@h/v1",
        "postgresql://u:S/w@h/db",
        "http://u:S?w#x@h:80/v1",
    ):
        assert "S" not in shown_address(f"no answer of {secret}: refused")
        assert "h" in shown_address(secret)
    for plain in (
        "http://host/a@b:c",
        "http://host:80/a@b",
        "http://host/v1?x=monkeys&k=1",
        "postgresql://user@host/db",
        "a: b@c",
    ):
        assert shown_address(plain) == plain
    assert login_of("http://host/v1") == ("http://host/v1", "")


plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=3)
    ),
    max_leaves=10,
)


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1])
def test_file_hash_is_the_hash_of_its_bytes(tmp_path: Path, size: int) -> None:
    data = b"a" * size
    (tmp_path / "file").write_bytes(data)
    assert sha256_file(tmp_path / "file") == hashlib.sha256(data).hexdigest()
    assert sha256_bytes(data) == hashlib.sha256(data).hexdigest()


def test_known_value() -> None:
    expected = hashlib.sha256('{"a":[1,2.5,null],"é":true}'.encode()).hexdigest()
    assert content_hash({"é": True, "a": [1, 2.5, None]}) == expected


@given(plain)
def test_survives_a_trip_through_json(value: object) -> None:
    assert content_hash(json.loads(json.dumps(value))) == content_hash(value)


@given(st.dictionaries(st.text(st.characters(codec="utf-8")), st.integers(), min_size=2))
def test_key_order_does_not_matter(value: dict[str, int]) -> None:
    assert content_hash(dict(reversed(value.items()))) == content_hash(value)


def test_differs_where_values_differ() -> None:
    values: list[object] = [1, 1.0, "1", True, None, [], {}, [1], [[1]], {"a": 1}, {"a": [1]}, ""]
    assert len({content_hash(value) for value in values}) == len(values)


def test_tuple_is_a_list() -> None:
    assert content_hash((1, (2,))) == content_hash([1, [2]])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, b"x", {"a": object()}])
def test_refuses_what_has_no_canonical_form(value: object) -> None:
    with pytest.raises(ConfigError, match="no canonical JSON"):
        content_hash(value)


@pytest.mark.parametrize("value", [{1: 2}, [{"a": {None: 1}}], ({"a": 1, 2: 3},)])
def test_refuses_keys_that_are_not_text(value: object) -> None:
    with pytest.raises(ConfigError, match="not a string"):
        content_hash(value)


def test_refuses_text_that_has_no_utf8() -> None:
    with pytest.raises(ConfigError):
        content_hash("\ud800")


def record(text: str, *args: object) -> logging.LogRecord:
    return logging.LogRecord("x", logging.ERROR, "f", 1, text, args, None)


def test_a_message_is_said_once_and_counted_then() -> None:
    clock = FixedClock()
    repeats = LogRepeats(10, clock)
    assert repeats.filter(record("away: %s", "disk"))
    assert not any(repeats.filter(record("away: %s", "disk")) for _ in range(5))
    assert repeats.filter(record("away: %s", "net"))
    clock.advance(10)
    said = record("away: %s", "disk")
    assert repeats.filter(said)
    assert said.getMessage() == "away: disk (and 5 times since it was last said)"
    clock.advance(10)
    said = record("away: %s", "disk")
    assert repeats.filter(said)
    assert said.getMessage() == "away: disk"


def test_what_is_remembered_has_a_bound() -> None:
    repeats = LogRepeats(10, FixedClock())
    assert all(repeats.filter(record(str(number))) for number in range(1001))
    assert repeats.filter(record("0"))  # forgotten


def test_a_logger_is_its_old_self_afterwards(caplog: pytest.LogCaptureFixture) -> None:
    log = logging.getLogger("adwright.test")
    with fewer_repeats("adwright.test"):
        for _ in range(3):
            log.error("gone")
    log.error("gone")
    assert [one.getMessage() for one in caplog.records] == ["gone", "gone"]


def test_a_file_is_read_with_its_size(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    assert read_regular(tmp_path / "a", most=5) == read_regular(str(tmp_path / "a"), most=99)
    with open_regular(tmp_path / "a") as (stream, size):
        assert (stream.read(), size) == (b"12345", 5)


@pytest.mark.parametrize(
    "make",
    [
        os.mkfifo,
        os.mkdir,
        lambda path: path.symlink_to("/etc/hostname"),
        lambda path: path.symlink_to("/dev/zero"),
        lambda path: socket.socket(socket.AF_UNIX).bind(str(path)),
    ],
)
@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_what_is_no_plain_file_is_refused_at_once(
    tmp_path: Path, make: Callable[[Path], object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # the name of a socket has to be short
    make(Path("a"))
    with pytest.raises(OSError, match="no regular file"):
        read_regular("a", most=10)
    with pytest.raises(OSError, match="no regular file"), open_regular("/dev/null"):
        pass


def test_what_takes_its_place_before_it_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a").write_bytes(b"1")
    as_before = os.lstat(tmp_path / "a")
    for make in (os.mkfifo, os.mkdir, lambda path: path.symlink_to("/dev/null")):
        if (tmp_path / "a").is_dir():
            (tmp_path / "a").rmdir()
        else:
            (tmp_path / "a").unlink()
        make(tmp_path / "a")
        monkeypatch.setattr(os, "lstat", lambda _: as_before)
        with pytest.raises(OSError, match=r"no regular file|symbolic links|directory"):
            read_regular(tmp_path / "a", most=10)
        monkeypatch.undo()


def test_the_size_is_known_before_anything_is_read(tmp_path: Path) -> None:
    with open(tmp_path / "a", "wb") as stream:
        os.truncate(stream.fileno(), 1 << 42)
    with pytest.raises(OSError, match="more than 1,000 bytes"):
        read_regular(tmp_path / "a", most=1000)
    with pytest.raises(FileNotFoundError):
        read_regular(tmp_path / "none", most=1000)


def test_the_memory_of_this_machine() -> None:
    assert 1 << 28 < memory_bytes() < 1 << 50


def test_the_version_is_the_installed_one_everywhere() -> None:
    assert re.fullmatch(r"\d+\.\d+\.\d+", __version__)
    assert adwright.__version__ == __version__ == version("adwright")
