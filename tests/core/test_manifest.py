from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from adwright.core import manifest as module
from adwright.core.artifacts import load_artifact, save_artifact
from adwright.core.errors import ArtifactCorruptError, ArtifactError, ArtifactUnsafeError
from adwright.core.hashing import content_hash, sha256_bytes
from adwright.core.manifest import (
    MANIFEST,
    ListedFile,
    check_names,
    corrupt,
    is_safetensors,
    parse_manifest,
    read_listed,
    read_manifest,
    refuse_pickle,
    refused,
    safe_name,
    verified,
)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    save_artifact(tmp_path / "a", kind="x", config={}, files={"text": "12345"})
    return tmp_path / "a"


def rewritten(folder: Path, **changes: Any) -> bytes:
    raw = json.loads((folder / MANIFEST).read_text()) | changes
    del raw["id"]
    return json.dumps(raw | {"id": content_hash(raw)}).encode()


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
