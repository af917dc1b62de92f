"""Artifacts that would run code, lead out of their folder, hang or fill the memory."""

from __future__ import annotations

import io
import json
import os
import pickle
import socket
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from adwright.core.artifacts import MANIFEST, TENSORS
from adwright.core.clock import SystemClock
from adwright.core.hashing import content_hash
from adwright.delivery.popularity import save_popularity
from adwright.service.registry.publishing import load_deployed
from adwright.service.registry.registry import POINTER, FolderModels, publish
from tests.attacks.attack import GIB, Area, Attack
from tests.attacks.files.forging import entry, forge, refused, refuses, rewrite, small

Spoil = Callable[[Path], object]


class Evil:
    """What runs code when it is unpickled: it makes the folder `ran` beside the artifact."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def zipped(inside: bytes, name: str = "archive/data.pkl") -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr(name, inside)
    return stream.getvalue()


def pickled(name: str, make: Callable[[Evil], bytes]) -> Attack:
    """A pickle under the file name `name`: refused, or kept as bytes; it never runs."""

    def run(shared: Path) -> None:
        folder, ran = small(shared / "model"), shared / "ran"
        forge(folder, name, make(Evil(ran)))
        found = refused(folder)
        assert not ran.exists(), "it ran"
        assert found is None or name in found.files, "it was taken for tensors"

    return Attack(f"{make.__name__} as {name}", run, quick=True)


def of_protocol(protocol: int) -> Callable[[Evil], bytes]:
    def make(evil: Evil) -> bytes:
        return pickle.dumps(evil, protocol)

    make.__name__ = f"a pickle of protocol {protocol}"
    return make


def in_a_zip(evil: Evil) -> bytes:
    return zipped(pickle.dumps(evil))


def after_numpys_head(evil: Evil) -> bytes:
    return b"\x93NUMPY\x01\x00" + pickle.dumps(evil)


PICKLES = [
    *(pickled("report.json", of_protocol(n)) for n in (0, 1, 2, 3, 4, 5)),
    *(pickled(TENSORS, of_protocol(n)) for n in (0, 2, 3, 4, 5)),
    pickled("more.safetensors", of_protocol(4)),
    *(pickled(f"w{end}", of_protocol(2)) for end in (".pt", ".PTH", ".pkl", ".ckpt", ".joblib")),
    *(pickled(name, in_a_zip) for name in ("w.pt", "w.npz", "report.json", TENSORS)),
    pickled("a.npy", after_numpys_head),
]


def header(values: Any, *, length: int | None = None, data: bytes = bytes(32)) -> bytes:
    """A tensor file with this header, as JSON or raw."""
    text = values if isinstance(values, bytes) else json.dumps(values).encode()
    number = len(text) if length is None else length
    return number.to_bytes(8, "little") + text + data


def one(**changes: Any) -> dict[str, Any]:
    return {"w": {"dtype": "F32", "shape": [2, 4], "data_offsets": [0, 32]} | changes}


HEADERS: dict[str, bytes] = {
    "no bytes": b"",
    "seven bytes": bytes(7),
    "a header of no length": header(b"", data=b""),
    "a header longer than the file": header(one(), length=1 << 20),
    "a header of 2^62 bytes": header(one(), length=1 << 62),
    "a header of 2^64 - 1 bytes": header(one(), length=2**64 - 1),
    "a header that is a list": header([]),
    "a header that is text": header(b'"w"'),
    "a header that is no JSON": header(b"{{{"),
    "a header that is not UTF-8": header(b'{"\xff": 1}'),
    "a header nested 100,000 deep": header(b'{"w":' * 100_000),
    "a header of 1e5 brackets": header(b'{"w":' + b"[" * 100_000),
    "a name twice": header(
        b'{"w":{"dtype":"F32","shape":[8],"data_offsets":[0,32]},'
        b'"w":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}'
    ),
    "an unknown type": header(one(dtype="Q7")),
    "a type that is a number": header(one(dtype=3)),
    "a negative length": header(one(shape=[-2, -4])),
    "a shape that overflows": header(one(shape=[2**40, 2**40])),
    "a shape of 2^61": header(one(shape=[2**61])),
    "a shape of text": header(one(shape=["2", "4"])),
    "a shape of fractions": header(one(shape=[2.5, 3.2])),
    "offsets beyond the file": header(one(data_offsets=[0, 1 << 40])),
    "offsets that run backwards": header(one(data_offsets=[32, 0])),
    "negative offsets": header(one(data_offsets=[-32, 0])),
    "offsets of text": header(one(data_offsets=["0", "32"])),
    "three offsets": header(one(data_offsets=[0, 16, 32])),
    "no offsets": header({"w": {"dtype": "F32", "shape": [8]}}),
    "a hole before the tensor": header(one(shape=[4], data_offsets=[16, 32])),
    "tensors that overlap": header(one(shape=[8]) | {"v": one(shape=[8])["w"]}),
    "bytes behind the tensors": header(one(), data=bytes(64)),
    "bytes that are missing": header(one(), data=bytes(31)),
    "metadata that is no text": header({"__metadata__": {"a": [1]}} | one()),
}

MANIFESTS: dict[str, bytes] = {
    "nothing": b"",
    "null": b"null",
    "a list": b"[]",
    "a number": b"3",
    "half of JSON": b'{"id": "',
    "100,000 brackets": b"[" * 100_000,
    "900 brackets": b'{"format_version": 1, "config": ' + b"[" * 900 + b"]" * 900 + b"}",
    "NaN": b'{"format_version": NaN}',
    "an integer of 5,000 digits": b'{"format_version": ' + b"9" * 5000 + b"}",
    "a version that is true": b'{"format_version": true}',
    "UTF-16": '{"format_version": 1}'.encode("utf-16"),
    "a byte order mark": b'\xef\xbb\xbf{"format_version": 1}',
    "bytes that are no UTF-8": b"\xff\xfe\xfd",
}

CHANGES: dict[str, Any] = {
    "files that are a list": {"files": []},
    "a file that is a number": {"files": {"a": 1}},
    "a file of -1 bytes": {"files": {"report.json": {"sha256": "0" * 64, "bytes": -1}}},
    "a file of 2^70 bytes": {"files": {"report.json": {"sha256": "0" * 64, "bytes": 2**70}}},
    "a size that is true": {"files": {"report.json": {"sha256": "0" * 64, "bytes": True}}},
    "a seed that is text": {"seed": "0"},
    "a kind that is a list": {"kind": ["din"]},
    "a time that is none": {"created": "yesterday"},
    "a key that nobody reads": {"__class__": "os.system"},
}


def duplicated(folder: Path) -> None:
    """The manifest says twice what the files are; a second reader could see the other list."""
    text = (folder / MANIFEST).read_text()
    (folder / MANIFEST).write_text(text.replace("{", '{"files": {"/etc/passwd": {}}, ', 1))
    found = refused(folder)
    assert found is not None
    assert "/etc/passwd" not in found.files
    rewrite(folder, seed="it was read by one list alone")


NAMES = {
    "..": "../a", "an absolute path": "/etc/passwd", "a way out and back": "a/../../b",
    "two dots": "..", "one dot": ".", "no name": "", "two slashes": "a//b", "a dot first": "./a",
    "backslashes": "a\\..\\b", "a drive": "c:x", "a slash at the end": "a/", "NUL": "a\0b",
    "the manifest": MANIFEST, "400 letters": "a" * 400, "5,000 folders": "a/" * 5000 + "b",
}  # fmt: skip


def path_trick(name: str) -> Spoil:
    return lambda folder: rewrite(folder, files={name: entry(b"x")})


def instead(name: str, make: Callable[[Path], object]) -> Spoil:
    """`make` in the place of a file or a sub-folder."""

    def spoil(folder: Path) -> None:
        target = folder / name
        target.rename(folder.parent / "moved")
        make(target)
        moved = folder.parent / "moved"
        moved.rename(folder.parent / f"moved-{os.urandom(4).hex()}")

    return spoil


def link(target: Path) -> None:
    target.symlink_to(target.parent.parent / "moved")


def unix_socket(target: Path) -> None:
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(f"/proc/self/fd/{os.open(target.parent, os.O_RDONLY)}/{target.name}")


def linked_root(folder: Path) -> None:
    folder.rename(folder.with_name(f"real-{os.urandom(4).hex()}"))
    folder.symlink_to(next(folder.parent.glob("real-*")))


SPECIAL: dict[str, Spoil] = {
    "a linked file": instead("report.json", link),
    "a linked folder": instead("sub", link),
    "a linked manifest": instead(MANIFEST, link),
    "a linked root": linked_root,
    "a FIFO as a file": instead("report.json", os.mkfifo),
    "a FIFO as the tensors": instead(TENSORS, os.mkfifo),
    "a FIFO as the manifest": instead(MANIFEST, os.mkfifo),
    "a socket as a file": instead("report.json", unix_socket),
    "a folder as the manifest": instead(MANIFEST, os.mkdir),
    "a folder as a file": instead("report.json", os.mkdir),
    "/dev/zero as the manifest": instead(MANIFEST, lambda path: path.symlink_to("/dev/zero")),
    "a FIFO that is not listed": lambda folder: os.mkfifo(folder / "more"),
}


def every_byte(name: str) -> Attack:
    """Flip one bit of each byte of a file, one after the other."""

    def run(shared: Path) -> Mapping[str, float]:
        folder = small(shared / "model")
        whole = (folder / name).read_bytes()
        bits = np.random.default_rng(0).integers(0, 8, len(whole))
        for place, bit in enumerate(bits.tolist()):
            changed = bytearray(whole)
            changed[place] ^= 1 << bit
            (folder / name).write_bytes(changed)
            assert refused(folder) is None, f"byte {place} of {name} was changed unseen"
        return {"bytes": len(whole)}

    return Attack(f"every byte of {name} changed", run, quick=True)


def header_attack(name: str, data: bytes) -> Attack:
    def run(shared: Path) -> None:
        folder = small(shared / "model")
        forge(folder, TENSORS, data)
        found = refused(folder)
        held = 0 if found is None else sum(array.nbytes for array in found.tensors.values())
        assert held <= len(data), "it is larger than its file"

    return Attack(f"tensors: {name}", run, quick=True)


def resized(name: str, size: int, *, honest: bool = False) -> Spoil:
    """The file has `size` bytes, none of them on the disk."""

    def spoil(folder: Path) -> None:
        os.truncate(folder / name, size)
        if honest:
            rewrite(folder, files={name: {"sha256": "0" * 64, "bytes": size}})
            for other in (TENSORS, "sub/raw.bin"):
                (folder / other).unlink()

    return spoil


def pointer(spoil: Callable[[Path], object]) -> Callable[[Path], Mapping[str, float]]:
    """One tenant's pointer is spoilt; the others' models come, and start and stop return."""

    def run(shared: Path) -> Mapping[str, float]:
        root = shared / f"models-{os.urandom(4).hex()}"
        for tenant in ("attacker", "honest"):
            save_popularity(root / tenant / "v1", ["a", "b"], np.arange(2.0))
            publish(root, tenant, "v1")
        (root / "attacker" / POINTER).unlink()
        spoil(root / "attacker" / POINTER)
        began = perf_counter()
        models = FolderModels(root, load_deployed, SystemClock(), seconds=0.01)
        models.start()
        save_popularity(root / "honest" / "v2", ["a", "b"], np.arange(2.0))
        publish(root, "honest", "v2")
        while (status := models.status("honest")) and status.deployed.name != "v2":  # type: ignore[union-attr]
            assert perf_counter() - began < 20, "the honest tenant's new model does not come"
        models.stop()
        refusal = models.status("attacker")
        assert refusal is not None
        assert "cannot be read" in refusal.reason
        return {"seconds": round(perf_counter() - began, 2)}

    return run


def large(path: Path) -> None:
    path.touch()
    os.truncate(path, GIB)


def deep(depth: int) -> Spoil:
    def spoil(folder: Path) -> None:
        raw = json.loads((folder / MANIFEST).read_text())
        for _ in range(depth):
            raw["config"] = {"a": raw["config"]}
        raw["id"] = content_hash({key: value for key, value in raw.items() if key != "id"})
        text = json.dumps(raw)
        (folder / MANIFEST).write_text(text.replace(raw["id"], "0" * 64))

    return spoil


ARTIFACTS = [
    *PICKLES,
    *(header_attack(name, data) for name, data in HEADERS.items()),
    *(
        refuses(
            f"a manifest of {name}", lambda folder, data=data: (folder / MANIFEST).write_bytes(data)
        )
        for name, data in MANIFESTS.items()
    ),
    *(
        refuses(f"a manifest with {name}", lambda folder, change=change: rewrite(folder, **change))
        for name, change in CHANGES.items()
    ),
    *(refuses(f"a manifest {depth} deep", deep(depth)) for depth in (100, 300)),
    refuses("a manifest with the files twice", duplicated),
    *(refuses(f"a file name: {name}", path_trick(text)) for name, text in NAMES.items()),
    *(refuses(name, spoil) for name, spoil in SPECIAL.items()),
    *(every_byte(name) for name in (MANIFEST, TENSORS, "report.json", "sub/raw.bin")),
]
BOMBS = [
    refuses("4 GB instead of 10 bytes", resized("report.json", 4 << 30)),
    refuses("3 TB instead of 10 bytes", resized("report.json", 3 << 40)),
    refuses("3 TB, as its manifest says", resized("report.json", 3 << 40, honest=True)),
    refuses("9 GB, as its manifest says", resized("report.json", 9 << 30, honest=True)),
    refuses("a manifest of 1 GB", resized(MANIFEST, GIB)),
    Attack("a pointer of 1 GB", pointer(large)),
    Attack("a pointer that is a FIFO", pointer(os.mkfifo), quick=True),
    Attack("a pointer that is a folder", pointer(os.mkdir)),
]
#: Every fourth runs at each change, and what would hang.
CHOSEN = [
    replace(each, quick=n % 4 == 0 or "FIFO" in each.name) for n, each in enumerate(ARTIFACTS)
]
AREAS = [Area("artifacts", CHOSEN), Area("size bombs", BOMBS)]
