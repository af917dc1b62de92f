from __future__ import annotations

import errno
import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from adwright.core import artifacts
from adwright.core import artifacts as module
from adwright.core.artifacts import (
    MANIFEST,
    TENSORS,
    Fitted,
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
from adwright.core.clock import FixedClock
from adwright.core.errors import (
    ArtifactCorruptError,
    ArtifactError,
    ArtifactUnsafeError,
    ResourceError,
)
from adwright.core.hashing import content_hash, sha256_bytes

CONFIG = {"width": 8, "rates": [0.1, 0.2], "name": "é"}


@pytest.fixture
def saved(tmp_path: Path, clock: FixedClock) -> Path:
    """A small artifact with two tensors and two files, one of them in a sub-folder."""
    save_artifact(
        tmp_path / "model",
        kind="din",
        config=CONFIG,
        tensors={"w": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array(3, np.int64)},
        files={"report.json": '{"auc": 1}', "sub/raw.bin": b"\x00\x01"},
        feature_spec={"items": 3},
        data_hash="d" * 64,
        seed=7,
        parents=["p" * 64],
        clock=clock,
    )
    return tmp_path / "model"


def save_plain(folder: Path, **changes: Any) -> str:
    return save_artifact(folder, **({"kind": "x", "config": {}} | changes))


def test_round_trip(saved: Path) -> None:
    loaded = load_artifact(saved)
    assert (loaded.kind, loaded.config, loaded.feature_spec) == ("din", CONFIG, {"items": 3})
    assert (loaded.data_hash, loaded.seed, loaded.parents) == ("d" * 64, 7, ("p" * 64,))
    assert set(loaded.tensors) == {"w", "b"}
    np.testing.assert_array_equal(loaded.tensors["w"], [[0, 1, 2], [3, 4, 5]])
    assert loaded.tensors["w"].dtype == np.float32
    assert loaded.tensors["b"].shape == ()
    assert loaded.files == {"report.json": b'{"auc": 1}', "sub/raw.bin": b"\x00\x01"}
    assert loaded.text("report.json") == '{"auc": 1}'
    assert loaded.folder == saved
    with pytest.raises(ArtifactError, match=r"no file 'x'.*report\.json"):
        loaded.text("x")


def test_manifest_lists_what_the_folder_holds(saved: Path) -> None:
    manifest = json.loads((saved / MANIFEST).read_text())
    assert set(manifest) == {
        *("kind", "format_version", "config", "feature_spec", "data_hash", "seed"),
        *("parents", "created", "files", "id"),
    }
    assert set(manifest["files"]) == {TENSORS, "report.json", "sub/raw.bin"}
    assert manifest["files"]["report.json"]["bytes"] == 10
    assert manifest["created"] == "2024-01-01T00:00:00+00:00"
    assert load_artifact(saved).manifest == manifest


def test_id_depends_on_content_and_history_only(tmp_path: Path, clock: FixedClock) -> None:
    base = save_plain(tmp_path / "a", clock=clock)
    assert save_plain(tmp_path / "b", clock=clock) == base
    assert load_artifact(tmp_path / "a").id == base
    changes: list[dict[str, Any]] = [
        {"kind": "y"},
        {"config": {"a": 1}},
        {"tensors": {"w": np.zeros(1)}},
        {"files": {"a.txt": "a"}},
        {"feature_spec": {}},
        {"data_hash": "d"},
        {"seed": 1},
        {"parents": ["p"]},
        {"clock": FixedClock(clock.now().replace(year=2025))},
    ]
    ids = {
        save_plain(tmp_path / f"c{turn}", **({"clock": clock} | change))
        for turn, change in enumerate(changes)
    }
    assert len(ids | {base}) == len(changes) + 1


@given(
    st.dictionaries(
        st.text(st.characters(codec="ascii", exclude_categories=["Cc"]), min_size=1, max_size=8),
        hnp.arrays(
            st.sampled_from([np.bool_, np.int8, np.uint16, np.int64, np.float16, np.float64]),
            hnp.array_shapes(min_dims=0, max_dims=3, min_side=0),
        ),
        max_size=3,
    )
)
def test_arrays_of_any_shape_survive(tmp_path_factory: Any, tensors: dict[str, Any]) -> None:
    tensors.pop("__metadata__", None)
    folder = tmp_path_factory.mktemp("a") / "model"
    save_plain(folder, tensors=tensors)
    loaded = load_artifact(folder).tensors
    assert set(loaded) == set(tensors)
    for name, array in tensors.items():
        assert loaded[name].dtype == array.dtype
        np.testing.assert_array_equal(loaded[name], array)


@pytest.mark.parametrize(
    "make",
    [
        *(lambda a: a.T, lambda a: a[:, ::2], np.asfortranarray, lambda a: a[::-1]),
        lambda a: a.astype(">f4"),
    ],
)
def test_memory_order_and_byte_order_do_not_matter(
    tmp_path: Path, make: Callable[[NDArray[Any]], NDArray[Any]]
) -> None:
    array = make(np.arange(12.0).reshape(3, 4))
    save_plain(tmp_path / "a", tensors={"w": array})
    np.testing.assert_array_equal(load_artifact(tmp_path / "a").tensors["w"], array)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        *(
            ({"tensors": {"w": bad}}, "'w' is not an array of numbers")
            for bad in (np.array(["a"]), np.array([object()]), [1.0], np.zeros(1, "c16"))
        ),
        *(
            ({"config": bad}, "cannot be stored")
            for bad in ({"a": float("nan")}, {"a": object()}, {1: 2})
        ),
        *(({"files": {name: b"x"}}, "taken by the artifact") for name in (MANIFEST, TENSORS)),
    ],
)
def test_what_cannot_be_stored(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ArtifactError, match=message):
        save_plain(tmp_path / "a", **change)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [TENSORS, MANIFEST, "report.json", "sub/raw.bin"])
def test_any_flipped_bit_is_found(saved: Path, name: str) -> None:
    data = bytearray((saved / name).read_bytes())
    for position in {0, len(data) // 2, len(data) - 2}:
        changed = data.copy()
        changed[position] ^= 1
        (saved / name).write_bytes(changed)
        with pytest.raises(ArtifactError):
            load_artifact(saved)
    (saved / name).write_bytes(data)
    load_artifact(saved)


@pytest.mark.parametrize("name", [TENSORS, "report.json", "sub/raw.bin"])
def test_changed_truncated_missing_or_added_file(saved: Path, name: str) -> None:
    path = saved / name
    data = path.read_bytes()
    path.write_bytes(data[:-1] + b"!")
    with pytest.raises(ArtifactCorruptError, match=rf"SHA-256 differs .*{name}"):
        load_artifact(saved)
    path.write_bytes(data[:-1])
    with pytest.raises(ArtifactCorruptError, match="bytes instead of"):
        load_artifact(saved)
    path.unlink()
    with pytest.raises(ArtifactCorruptError, match="missing"):
        load_artifact(saved)
    path.write_bytes(data)
    (saved / "more.json").write_text("{}")
    with pytest.raises(ArtifactCorruptError, match="does not list"):
        load_artifact(saved)


def test_no_artifact(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    for name in ("none", "file", ""):
        with pytest.raises(ArtifactError, match="no artifact here"):
            load_artifact(tmp_path / name)


@pytest.mark.parametrize("name", [MANIFEST, TENSORS, "sub/raw.bin"])
def test_a_file_that_may_not_be_read_or_goes_meanwhile(
    saved: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = os.open

    def open_but(path: Any, *rest: Any, **more: Any) -> int:
        if Path(path) == saved / name:
            raise PermissionError(errno.EACCES, "Permission denied")
        return opened(path, *rest, **more)

    monkeypatch.setattr(os, "open", open_but)
    with pytest.raises(ArtifactError, match="cannot be read: Permission denied") as found:
        load_artifact(saved)
    assert found.value.where == str(saved / name)


def test_kind_and_format_are_checked(saved: Path) -> None:
    assert load_artifact(saved, kind="din").kind == "din"
    with pytest.raises(ArtifactError, match="of kind 'din', not 'hcn'"):
        load_artifact(saved, kind="hcn")
    rewrite(saved, format_version=2)
    with pytest.raises(ArtifactError, match="format 2, this version reads format 1"):
        load_artifact(saved)


def rewrite(folder: Path, **changes: Any) -> None:
    """Forge the manifest, with a matching id, as someone with bad intent would."""
    manifest = json.loads((folder / MANIFEST).read_text()) | changes
    del manifest["id"]
    manifest["id"] = content_hash(manifest)
    (folder / MANIFEST).write_text(json.dumps(manifest))


def forge(folder: Path, name: str, data: bytes) -> None:
    """Put `data` into the file, with every hash right."""
    (folder / name).write_bytes(data)
    entry = {"sha256": sha256_bytes(data), "bytes": len(data)}
    rewrite(folder, files=json.loads((folder / MANIFEST).read_text())["files"] | {name: entry})


def zipped() -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps({}))
    return stream.getvalue()


PICKLES = [
    ("weights.pt", b""),
    ("weights.PTH", b""),
    ("a/b.pkl", b"x"),
    ("cache.joblib", b"x"),
    ("a.npy", b"\x93NUMPY"),
    ("harmless.json", zipped()),
    # The name of tensors alone does not make tensors.
    *(("more.safetensors", b"\x80\x02" + rest) for rest in (bytes(6) + b"{", b"{}" + bytes(1000))),
    *(("harmless.json", pickle.dumps({}, protocol)) for protocol in (2, 3, 4, 5)),
]


@pytest.mark.parametrize(("name", "data"), PICKLES)
def test_pickles_are_refused(tmp_path: Path, saved: Path, name: str, data: bytes) -> None:
    with pytest.raises(ArtifactUnsafeError, match="pickle"):
        save_plain(tmp_path / "new", files={name: data})
    (saved / name).parent.mkdir(exist_ok=True)
    (saved / name).write_bytes(data)
    if name.startswith(("harmless", "more")):
        forge(saved, name, data)
    with pytest.raises(ArtifactUnsafeError, match="pickle"):
        load_artifact(saved)


@pytest.mark.parametrize(
    ("data", "error", "message"),
    [
        (pickle.dumps({}), ArtifactUnsafeError, "pickle"),
        (b"\x10" * 64, ArtifactCorruptError, "tensors cannot be read"),
    ],
)
def test_tensor_file_that_holds_none(
    saved: Path, data: bytes, error: type[ArtifactError], message: str
) -> None:
    forge(saved, TENSORS, data)
    with pytest.raises(error, match=message):
        load_artifact(saved)


@pytest.mark.parametrize("length", [640, 896, 1152, 1408])
def test_tensor_file_whose_length_reads_as_a_pickle(tmp_path: Path, length: int) -> None:
    # The first bytes of the file are the header's length: 0x0280, 0x0380, 0x0480, 0x0580.
    array = np.arange(2.0)
    for letters in range(length - 80, length):
        folder = tmp_path / str(letters)
        save_plain(folder, tensors={"w" * letters: array})
        data = (folder / TENSORS).read_bytes()
        loaded = load_artifact(folder).tensors["w" * letters]
        if int.from_bytes(data[:8], "little") == length:
            break
    else:
        pytest.fail("no name gives a header of this length")
    assert data[:2] in (b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05")
    np.testing.assert_array_equal(loaded, array)
    # The same bytes as a further file: tensors by their name, a pickle by any other.
    save_plain(tmp_path / "b", files={"more.safetensors": data})
    assert load_artifact(tmp_path / "b").files == {"more.safetensors": data}
    with pytest.raises(ArtifactUnsafeError, match="pickle"):
        save_plain(tmp_path / "c", files={"more.bin": data})


def test_full_disk_leaves_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(self: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(ResourceError, match="disk is full"):
        save_plain(tmp_path / "a", tensors={"w": np.zeros(4)})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", [TENSORS, "report.json"])
@pytest.mark.parametrize("spoil", [lambda data: data[:-1] + b"!", lambda data: data[:-1]])
def test_what_a_disk_spoils_is_never_kept(
    tmp_path: Path,
    saved: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    spoil: Callable[[bytes], bytes],
) -> None:
    before, write = load_artifact(saved), Path.write_bytes

    def write_badly(path: Path, data: bytes) -> int:
        return write(path, spoil(data) if path.name == name else data)

    monkeypatch.setattr(Path, "write_bytes", write_badly)
    content: dict[str, Any] = {"tensors": {"w": np.ones(4)}, "files": {"report.json": "{}"}}
    for folder in (saved, tmp_path / "new"):
        with pytest.raises(ArtifactCorruptError, match="cannot be read back") as found:
            save_plain(folder, overwrite=True, **content)
        assert found.value.where == str(folder / name)
    assert list(tmp_path.iterdir()) == [saved]
    assert load_artifact(saved).id == before.id


def test_manifest_that_could_not_be_loaded_is_never_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(ArtifactCorruptError, match=r"read back.*malformed"):
        save_plain(tmp_path / "a", seed=0.5)
    save_plain(tmp_path / "other")
    other = (tmp_path / "other" / MANIFEST).read_text()
    write = Path.write_text
    monkeypatch.setattr(Path, "write_text", lambda path, text, **more: write(path, other, **more))
    with pytest.raises(ArtifactCorruptError, match="not the one that was written"):
        save_plain(tmp_path / "a", seed=1)
    assert [path.name for path in tmp_path.iterdir()] == ["other"]


def test_tensors_that_differ_from_those_asked_for_are_never_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    array = np.ones((2, 3))
    wrong = [artifacts.safetensors_numpy.save({"w": array.T.copy()}), b"\x02" + bytes(7) + b"{]"]
    for data, message in zip(wrong, ["name or shape", "cannot be read"], strict=True):
        monkeypatch.setattr(artifacts.safetensors_numpy, "save", lambda _, data=data: data)
        with pytest.raises(ArtifactCorruptError, match=message):
            save_plain(tmp_path / "a", tensors={"w": array})
    assert list(tmp_path.iterdir()) == []


def test_existing_folder_needs_overwrite(saved: Path) -> None:
    with pytest.raises(ResourceError, match="exists already"):
        save_plain(saved)
    assert load_artifact(saved).kind == "din"
    save_plain(saved, overwrite=True)
    assert load_artifact(saved).kind == "x"
    assert [path.name for path in saved.iterdir()] == [MANIFEST]


def test_a_part_is_made_of_the_bytes_in_hand(tmp_path: Path, saved: Path) -> None:
    inner = {
        f"model/{path.relative_to(saved).as_posix()}": path.read_bytes()
        for path in saved.rglob("*")
        if path.is_file()
    }
    save_plain(tmp_path / "outer", files=inner)
    whole = load_artifact(tmp_path / "outer")
    part = whole.part("model")
    assert part.manifest == load_artifact(saved).manifest
    assert part.files == load_artifact(saved).files
    np.testing.assert_array_equal(part.tensors["w"], load_artifact(saved).tensors["w"])
    assert part.folder == tmp_path / "outer" / "model"
    (tmp_path / "outer" / "model" / MANIFEST).unlink()
    assert whole.part("model").id == part.id
    assert load_artifact(part, kind="din") is part
    with pytest.raises(ArtifactError, match="of kind 'din', not 'x'"):
        load_artifact(part, kind="x")
    with pytest.raises(ArtifactError, match="no artifact here"):
        whole.part("other")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda files: files.pop("model/report.json"), "differ"),
        (lambda files: files.update({"model/more": b""}), "differ"),
        (lambda files: files.update({"model/report.json": b'{"auc": 2}'}), "SHA-256"),
        (lambda files: files.update({"model/report.json": b"{}"}), "2 bytes instead of 10"),
        (lambda files: files.update({f"model/{MANIFEST}": b"["}), "not JSON"),
    ],
)
def test_a_part_that_is_not_what_its_manifest_says(
    tmp_path: Path, saved: Path, change: Callable[[dict[str, bytes]], Any], message: str
) -> None:
    files = {
        f"model/{path.relative_to(saved).as_posix()}": path.read_bytes()
        for path in saved.rglob("*")
        if path.is_file()
    }
    change(files)
    save_plain(tmp_path / "outer", files=files)
    with pytest.raises(ArtifactCorruptError, match=message):
        load_artifact(tmp_path / "outer").part("model")


def test_the_folder_below_and_the_verbs_of_another_kind_are_named(tmp_path: Path) -> None:
    save_artifact(tmp_path / "runs" / "ranker", kind="ranker", config={}, tensors={})
    with pytest.raises(ArtifactError, match=r"holds manifest.json; .*runs/ranker does"):
        load_artifact(tmp_path / "runs")
    with pytest.raises(ArtifactError, match=r"holds manifest.json$"):
        load_artifact(tmp_path)
    with pytest.raises(ArtifactError, match=r"this one is for adwright evaluate, score, explain"):
        load_artifact(tmp_path / "runs" / "ranker", kind="cascade")
    for kind in ("cascade", "retriever", "item-item", "popularity", "served", "sequence"):
        save_artifact(tmp_path / kind, kind=kind, config={})
        with pytest.raises(ArtifactError, match=r"this one is for .*recommend, publish and retrai"):
            load_artifact(tmp_path / kind, kind="adapter")


@pytest.mark.parametrize(
    ("events", "last", "until", "words"),
    [
        (1_500, 1_700_000_000_000_007, 1_700_000_000_000_007, "1,500 events until 2023-11-14"),
        (3, None, None, "3 events"),
        (3, 12 * 86_400_000_000, None, "3 events"),  # places in a sequence, as days
        (0, 1_700_000_000_000_007, None, "0 events"),
    ],
)
def test_what_it_was_fitted_on_is_kept(
    tmp_path: Path, events: int, last: int | None, until: int | None, words: str
) -> None:
    fitted = Fitted.of(events, last)
    assert fitted == Fitted(events, until)
    assert fitted.text().startswith(words)
    save_artifact(tmp_path / "new", kind="k", config={"a": 1}, fitted=fitted)
    save_artifact(tmp_path / "old", kind="k", config={"a": 1})
    assert load_artifact(tmp_path / "new").fitted == fitted
    assert load_artifact(tmp_path / "old").fitted is None


@pytest.fixture
def saved_manifest(tmp_path: Path) -> Path:
    save_artifact(tmp_path / "a", kind="x", config={}, files={"text": "12345", "sub/raw.bin": b"1"})
    return tmp_path / "a"


def rewritten(folder: Path, **changes: Any) -> bytes:
    raw = json.loads((folder / MANIFEST).read_text()) | changes
    del raw["id"]
    return json.dumps(raw | {"id": content_hash(raw)}).encode()


def forge_manifest(folder: Path, **changes: Any) -> None:
    (folder / MANIFEST).write_bytes(rewritten(folder, **changes))


def test_what_was_written_is_read(saved_manifest: Path) -> None:
    raw, found = read_manifest(saved_manifest)
    assert (raw["kind"], found.kind, found.files["text"].bytes) == ("x", "x", 5)
    assert parse_manifest((saved_manifest / MANIFEST).read_bytes(), saved_manifest) == (raw, found)
    check_names(saved_manifest, found.files)
    assert read_listed(saved_manifest, "text", found.files["text"]) == b"12345"


@pytest.mark.parametrize("name", [MANIFEST, "text"])
def test_a_fifo_is_refused_and_never_waited_for(saved_manifest: Path, name: str) -> None:
    (saved_manifest / name).unlink()
    os.mkfifo(saved_manifest / name)
    with pytest.raises(ArtifactError, match="no regular file"):
        load_artifact(saved_manifest)


def test_a_manifest_larger_than_any_is_not_read(
    saved_manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_MANIFEST_BYTES", 100)
    with pytest.raises(ArtifactError, match="it has more than 100 bytes"):
        read_manifest(saved_manifest)


def test_a_file_of_another_size_is_not_read(saved_manifest: Path) -> None:
    os.truncate(saved_manifest / "text", 1 << 42)
    with pytest.raises(ArtifactCorruptError, match=r"has 4,398,046,511,104 bytes instead of 5"):
        load_artifact(saved_manifest)


def test_what_is_larger_than_the_memory_is_refused(saved_manifest: Path) -> None:
    entry = {"sha256": "0" * 64, "bytes": 1 << 42}
    data = rewritten(saved_manifest, files={"text": entry})
    with pytest.raises(ArtifactError, match="more than the memory of this machine"):
        parse_manifest(data, saved_manifest)


def test_what_does_not_fit_into_the_free_memory_is_refused(
    saved_manifest: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: bytes) -> str:
        raise MemoryError

    monkeypatch.setattr(module, "open_regular", full)
    with pytest.raises(ArtifactError, match="does not fit into the memory that is free"):
        load_artifact(saved_manifest)


@pytest.mark.parametrize("depth", [300, 900, 990, 100_000])
def test_a_deep_manifest_is_refused_or_read(saved_manifest: Path, depth: int) -> None:
    text = (saved_manifest / MANIFEST).read_text().replace("{}", "[" * depth + "]" * depth)
    with pytest.raises(ArtifactCorruptError):
        parse_manifest(text.encode(), saved_manifest)


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
def test_forged_shape_of_the_manifest(saved_manifest: Path, changes: dict[str, Any]) -> None:
    forge_manifest(saved_manifest, **changes)
    with pytest.raises(ArtifactCorruptError, match="malformed"):
        load_artifact(saved_manifest)


@pytest.mark.parametrize(
    "data", [b"", b"[]", b"{}", b"{", b"3", b"[" * 100_000, b'{"a": NaN}', b"\xff\xfe{}"]
)
def test_manifest_that_is_none(saved_manifest: Path, data: bytes) -> None:
    (saved_manifest / MANIFEST).write_bytes(data)
    with pytest.raises(ArtifactCorruptError, match=MANIFEST):
        load_artifact(saved_manifest)


NAMES = ["../a", "/a", "a/../../b", "..", ".", "", "a//b", "./a", "a\\..\\b", "c:x", "a/", "a\0b"]


@pytest.mark.parametrize("name", NAMES)
def test_name_that_leaves_the_folder(tmp_path: Path, saved_manifest: Path, name: str) -> None:
    with pytest.raises(ArtifactUnsafeError, match="could leave"):
        save_artifact(tmp_path / "new", kind="x", config={}, files={name: b"x"})
    assert not (tmp_path / "new").exists()
    forge_manifest(saved_manifest, files={name: {"sha256": "0" * 64, "bytes": 1}})
    with pytest.raises(ArtifactUnsafeError, match="could leave"):
        load_artifact(saved_manifest)


def test_outside_file_is_not_read_through_a_link(tmp_path: Path, saved_manifest: Path) -> None:
    (tmp_path / "secret").write_text('{"auc": 1}')
    (saved_manifest / "text").unlink()
    (saved_manifest / "text").symlink_to(tmp_path / "secret")
    with pytest.raises(ArtifactUnsafeError, match="symbolic link"):
        load_artifact(saved_manifest)


def test_linked_folders_and_manifest(tmp_path: Path, saved_manifest: Path) -> None:
    (tmp_path / "link").symlink_to(saved_manifest)
    with pytest.raises(ArtifactUnsafeError, match="symbolic link"):
        load_artifact(tmp_path / "link")
    os.rename(saved_manifest / "sub", tmp_path / "sub")
    (saved_manifest / "sub").symlink_to(tmp_path / "sub")
    with pytest.raises(ArtifactUnsafeError, match="sub is a symbolic link"):
        load_artifact(saved_manifest)
    (saved_manifest / "sub").unlink()
    os.rename(saved_manifest / MANIFEST, tmp_path / "m")
    (saved_manifest / MANIFEST).symlink_to(tmp_path / "m")
    with pytest.raises(ArtifactUnsafeError, match="symbolic link"):
        load_artifact(saved_manifest)


def test_pipe_does_not_block_the_reader(saved_manifest: Path) -> None:
    (saved_manifest / "text").unlink()
    os.mkfifo(saved_manifest / "text")
    with pytest.raises(ArtifactUnsafeError, match="no regular file"):
        load_artifact(saved_manifest)
