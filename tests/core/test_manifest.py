from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from adwright.core import artifacts as module
from adwright.core.artifacts import (
    MANIFEST,
    ListedFile,
    check_names,
    corrupt,
    is_safetensors,
    load_artifact,
    parse_manifest,
    read_listed,
    read_manifest,
    refuse_pickle,
    refused,
    safe_name,
    save_artifact,
    verified,
)
from adwright.core.errors import ArtifactCorruptError, ArtifactError, ArtifactUnsafeError
from adwright.core.hashing import content_hash, sha256_bytes


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_artifact(tmp_path / "a", kind="x", config={}, files={"text": "12345", "sub/raw.bin": b"1"})
    return tmp_path / "a"


def rewritten(folder: Path, **changes: Any) -> bytes:
    raw = json.loads((folder / MANIFEST).read_text()) | changes
    del raw["id"]
    return json.dumps(raw | {"id": content_hash(raw)}).encode()


def forge(folder: Path, **changes: Any) -> None:
    (folder / MANIFEST).write_bytes(rewritten(folder, **changes))


def test_what_was_written_is_read(saved: Path) -> None:
    raw, found = read_manifest(saved)
    assert (raw["kind"], found.kind, found.files["text"].bytes) == ("x", "x", 5)
    assert parse_manifest((saved / MANIFEST).read_bytes(), saved) == (raw, found)
    check_names(saved, found.files)
    assert read_listed(saved, "text", found.files["text"]) == b"12345"


@pytest.mark.parametrize("name", [MANIFEST, "text"])
def test_a_fifo_is_refused_and_never_waited_for(saved: Path, name: str) -> None:
    (saved / name).unlink()
    os.mkfifo(saved / name)
    with pytest.raises(ArtifactError, match="no regular file"):
        load_artifact(saved)


def test_a_manifest_larger_than_any_is_not_read(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_MANIFEST_BYTES", 100)
    with pytest.raises(ArtifactError, match="it has more than 100 bytes"):
        read_manifest(saved)


def test_a_file_of_another_size_is_not_read(saved: Path) -> None:
    os.truncate(saved / "text", 1 << 42)
    with pytest.raises(ArtifactCorruptError, match=r"has 4,398,046,511,104 bytes instead of 5"):
        load_artifact(saved)


def test_what_is_larger_than_the_memory_is_refused(saved: Path) -> None:
    entry = {"sha256": "0" * 64, "bytes": 1 << 42}
    data = rewritten(saved, files={"text": entry})
    with pytest.raises(ArtifactError, match="more than the memory of this machine"):
        parse_manifest(data, saved)


def test_what_does_not_fit_into_the_free_memory_is_refused(
    saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: bytes) -> str:
        raise MemoryError

    monkeypatch.setattr(module, "open_regular", full)
    with pytest.raises(ArtifactError, match="does not fit into the memory that is free"):
        load_artifact(saved)


@pytest.mark.parametrize("depth", [300, 900, 990, 100_000])
def test_a_deep_manifest_is_refused_or_read(saved: Path, depth: int) -> None:
    text = (saved / MANIFEST).read_text().replace("{}", "[" * depth + "]" * depth)
    with pytest.raises(ArtifactCorruptError):
        parse_manifest(text.encode(), saved)


def test_the_bytes_are_those_of_the_manifest() -> None:
    entry = ListedFile(sha256_bytes(b"12"), 2)
    assert verified(b"12", "a", entry, Path("f")) == b"12"
    for data, message in ((b"13", "SHA-256"), (b"1", "1 bytes instead of 2")):
        with pytest.raises(ArtifactCorruptError, match=message):
            verified(data, "a", entry, Path("f"))


@pytest.mark.parametrize("name", ["", "/a", "../a", "a/../b", "a//b", "a\\b", "c:a", "a\0", "."])
def test_a_name_that_could_leave_the_folder(name: str) -> None:
    with pytest.raises(ArtifactUnsafeError, match="could leave"):
        safe_name(name, Path("f"))


def test_names_and_pickles() -> None:
    assert safe_name("a/b.json", Path("f")) == "a/b.json"
    with pytest.raises(ArtifactError, match="taken by the artifact"):
        safe_name(MANIFEST, Path("f"))
    refuse_pickle("a.bin", b"\x80", Path("f"))
    for name, data in (("a.pkl", b""), ("a.bin", b"\x80\x04."), ("a.bin", b"PK\x03\x04")):
        with pytest.raises(ArtifactUnsafeError, match="pickle"):
            refuse_pickle(name, data, Path("f"))
    assert is_safetensors(b"\x02" + bytes(7) + b"{}")
    assert not is_safetensors(b"\x03" + bytes(7) + b"{}")


def test_the_errors_name_the_place() -> None:
    assert refused("no", Path("f"), "why").where == "f"
    assert corrupt("no", Path("f"), "a").where == "f/a"


@pytest.mark.parametrize(
    "changes",
    [
        {"files": []},
        {"files": {"a": 1}},
        {"files": {"a": {"sha256": "0"}}},
        {"files": {"a": {"sha256": "0", "bytes": "1"}}},
        {"kind": 1},
        {"config": []},
        {"parents": "abc"},
        {"extra": 1},
        {"created": "yesterday"},
    ],
)
def test_forged_shape_of_the_manifest(saved: Path, changes: dict[str, Any]) -> None:
    forge(saved, **changes)
    with pytest.raises(ArtifactCorruptError, match="malformed"):
        load_artifact(saved)


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{}", b"{", b"3", b"[" * 100_000, b'{"a": NaN}', b"\xff\xfe{}"]
)
def test_manifest_that_is_none(saved: Path, data: bytes) -> None:
    (saved / MANIFEST).write_bytes(data)
    with pytest.raises(ArtifactCorruptError, match=MANIFEST):
        load_artifact(saved)


NAMES = ["../a", "/a", "a/../../b", "..", ".", "", "a//b", "./a", "a\\..\\b", "c:x", "a/", "a\0b"]


@pytest.mark.parametrize("name", NAMES)
def test_name_that_leaves_the_folder(tmp_path: Path, saved: Path, name: str) -> None:
    with pytest.raises(ArtifactUnsafeError, match="could leave"):
        save_artifact(tmp_path / "new", kind="x", config={}, files={name: b"x"})
    assert not (tmp_path / "new").exists()
    forge(saved, files={name: {"sha256": "0" * 64, "bytes": 1}})
    with pytest.raises(ArtifactUnsafeError, match="could leave"):
        load_artifact(saved)


def test_outside_file_is_not_read_through_a_link(tmp_path: Path, saved: Path) -> None:
    (tmp_path / "secret").write_text('{"auc": 1}')
    (saved / "text").unlink()
    (saved / "text").symlink_to(tmp_path / "secret")
    with pytest.raises(ArtifactUnsafeError, match="symbolic link"):
        load_artifact(saved)


def test_linked_folders_and_manifest(tmp_path: Path, saved: Path) -> None:
    (tmp_path / "link").symlink_to(saved)
    with pytest.raises(ArtifactUnsafeError, match="symbolic link"):
        load_artifact(tmp_path / "link")
    os.rename(saved / "sub", tmp_path / "sub")
    (saved / "sub").symlink_to(tmp_path / "sub")
    with pytest.raises(ArtifactUnsafeError, match="sub is a symbolic link"):
        load_artifact(saved)
    (saved / "sub").unlink()
    os.rename(saved / MANIFEST, tmp_path / "m")
    (saved / MANIFEST).symlink_to(tmp_path / "m")
    with pytest.raises(ArtifactUnsafeError, match="symbolic link"):
        load_artifact(saved)


def test_pipe_does_not_block_the_reader(saved: Path) -> None:
    (saved / "text").unlink()
    os.mkfifo(saved / "text")
    with pytest.raises(ArtifactUnsafeError, match="no regular file"):
        load_artifact(saved)
