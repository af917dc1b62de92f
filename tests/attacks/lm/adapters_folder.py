"""What may lie in the folder of adapters: each is refused by its name, and all others answer on."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from adwright.core.artifacts import save_artifact
from adwright.tuning.reparameterised.lora import LoRA
from tests.attacks.attack import Area, Attack
from tests.attacks.lm.served import Served, served
from tests.support.lm.adapter_engine import saved_parts
from tests.support.lm.tiny_llama import save_tiny

Arrays = dict[str, Any]
#: Seconds in which a scan has to have its answer.
SCAN = 20.0


@dataclass
class Shop:
    """A server, and its folder with one good adapter. arrays, config: of another good one."""

    server: Served
    top: Path
    arrays: Arrays
    config: dict[str, Any]

    def save(self, name: str, *, arrays: Arrays | None = None, **config: Any) -> None:
        """Write an artifact that is whole in itself, with lies in it. config: of the method."""
        told = {**self.config, "config": {**self.config["config"], **config}}
        for at in ("base", "method"):
            if at in config:
                told[at] = told["config"].pop(at)
        save_artifact(
            self.top / name,
            kind="lm-tuned",
            config=told,
            tensors=self.arrays if arrays is None else arrays,
            overwrite=True,
        )

    def scan(self) -> dict[str, Any]:
        """Let the server look at the folder; what it says."""
        answer = self.server.post("adapters/rescan", {}, seconds=SCAN)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def ask(self, name: str) -> int:
        """Status of an answer of that model."""
        body = {"model": name, "prompt": "the best", "max_tokens": 2}
        return self.server.post("completions", body, seconds=20).status_code


@contextmanager
def shop() -> Iterator[Shop]:
    with tempfile.TemporaryDirectory(prefix="attacks-") as name:
        folder = Path(name)
        top = folder / "adapters"
        saved_parts(top, {"good": LoRA(rank=2)})
        saved_parts(folder, {"other": LoRA(rank=3)})
        manifest = json.loads((folder / "other" / "manifest.json").read_text("utf-8"))
        arrays = load_file(folder / "other" / "tensors.safetensors")
        save_tiny(folder / "base")
        with served(folder / "base", "--adapters", str(top), "--pool-mb", "16") as server:
            yield Shop(server, top, arrays, manifest["config"])


def refused(shared: Shop, put: Callable[[Shop, Path], None], name: str = "evil") -> None:
    """Put something into the folder: it is refused by its name, and nobody else suffers."""
    place = shared.top / name
    try:
        put(shared, place)
        found = shared.scan()
        assert name in found["refused"] or name not in found["added"], found
        assert "good" not in found["refused"]
        assert shared.ask(name) == 404
        assert shared.ask("good") == 200
        assert shared.ask("m") == 200
    finally:
        _clear(place)
        shared.scan()


def _clear(place: Path) -> None:
    if place.is_symlink() or place.is_file():
        place.unlink()
    elif place.is_dir():
        shutil.rmtree(place)


def _changed(shared: Shop, place: Path, **config: Any) -> None:
    shared.save(place.name, **config)


def _filled(shared: Shop, place: Path, value: float) -> None:
    arrays = {key: np.full_like(one, value) for key, one in shared.arrays.items()}
    shared.save(place.name, arrays=arrays)


def _cast(shared: Shop, place: Path, dtype: str) -> None:
    arrays = {key: one.astype(dtype) for key, one in shared.arrays.items()}
    shared.save(place.name, arrays=arrays)


def _reshaped(shared: Shop, place: Path, change: Callable[[Arrays], Arrays]) -> None:
    shared.save(place.name, arrays=change(dict(shared.arrays)))


def _first(arrays: Arrays, change: Callable[[Any], Any]) -> Arrays:
    key = next(iter(arrays))
    return {**arrays, key: np.ascontiguousarray(change(arrays[key]))}


def _manifest(shared: Shop, place: Path, text: bytes) -> None:
    place.mkdir()
    (place / "manifest.json").write_bytes(text)


def _flipped(shared: Shop, place: Path, at: float) -> None:
    shared.save(place.name)
    file = place / "tensors.safetensors"
    data = bytearray(file.read_bytes())
    data[int(at * (len(data) - 1))] ^= 1
    file.write_bytes(data)


def _without(shared: Shop, place: Path, name: str) -> None:
    shared.save(place.name)
    (place / name).unlink()


def _fifo(shared: Shop, place: Path, name: str) -> None:
    shared.save(place.name)
    (place / name).unlink()
    os.mkfifo(place / name)


def _linked_file(shared: Shop, place: Path, name: str, target: str) -> None:
    shared.save(place.name)
    (place / name).unlink()
    (place / name).symlink_to(target)


def _linked_folder(_: Shop, place: Path, target: str) -> None:
    place.symlink_to(target)


def _plain(shared: Shop, place: Path) -> None:
    shared.save("other-name")
    (shared.top / "other-name").rename(place)


def _swapped(shared: Shop) -> None:
    """The folder of a served adapter is exchanged for a wrong one, and back."""
    kept = shared.top / "swapped"
    shared.save("swapped")
    assert "swapped" in shared.scan()["added"]
    assert shared.ask("swapped") == 200
    shared.save("swapped", rank=10**9)
    assert "swapped" in shared.scan()["refused"]
    assert shared.ask("swapped") == 404
    assert shared.ask("m") == shared.ask("good") == 200
    shared.save("swapped")
    assert "swapped" in shared.scan()["added"]
    assert shared.ask("swapped") == 200
    shutil.rmtree(kept)
    assert "swapped" in shared.scan()["removed"]


def _swapped_under_way(shared: Shop) -> None:
    """While others ask, adapters come and go."""
    statuses: set[int] = set()
    over = threading.Event()

    def ask() -> None:
        while not over.is_set():
            statuses.add(shared.ask("good"))
            statuses.add(shared.ask("m"))

    thread = threading.Thread(target=ask)
    thread.start()
    try:
        for turn in range(6):
            shared.save("swapped", rank=3 if turn % 2 else 10**9)
            shared.scan()
    finally:
        over.set()
        thread.join()
        _clear(shared.top / "swapped")
        shared.scan()
    assert statuses == {200}, statuses


def _gone_under_way(shared: Shop) -> None:
    """Its folder is taken away after it was added, and only then is it asked for."""
    shared.save("gone")
    assert "gone" in shared.scan()["added"]
    shutil.rmtree(shared.top / "gone")
    assert shared.ask("gone") in (400, 503)
    assert shared.ask("m") == 200
    assert "gone" in shared.scan()["removed"]


def _fifo_under_way(shared: Shop, name: str) -> None:
    """A file becomes a FIFO after its adapter was added, and only then is it asked for."""
    place = shared.top / "later"
    shared.save("later")
    assert "later" in shared.scan()["added"]
    try:
        (place / name).unlink()
        os.mkfifo(place / name)
        assert shared.ask("later") in (400, 503)
        assert shared.ask("m") == 200
    finally:
        _clear(place)
        shared.scan()


def _rescans(shared: Shop) -> Mapping[str, float]:
    """Fifty scans at once, with a FIFO in the folder."""
    place = shared.top / "evil"
    _fifo(shared, place, "tensors.safetensors")
    try:
        threads = [threading.Thread(target=shared.scan) for _ in range(50)]
        for thread in threads:
            thread.start()
        assert shared.ask("m") == 200
        for thread in threads:
            thread.join(SCAN)
        assert not any(thread.is_alive() for thread in threads)
    finally:
        _clear(place)
        shared.scan()
    return {"scans": len(threads)}


PUT: dict[str, Callable[[Shop, Path], None]] = {
    **{
        f"a rank of {rank}": partial(_changed, rank=rank)
        for rank in (10**9, 10**30, 0, -4, 4, "3", None, 3.5)
    },
    **{f"an alpha of {alpha}": partial(_changed, alpha=alpha) for alpha in (1e308, "x", None)},
    "targets that are none": partial(_changed, targets=["nowhere"]),
    "no targets": partial(_changed, targets=[]),
    "a setting that the method has not": partial(_changed, further=1),
    "a method that is none": partial(_changed, method="os.system"),
    "a method of other tensors": partial(_changed, method="IA3"),
    "another base": partial(_changed, base="0" * 64),
    "no base": partial(_changed, base=None),
    "NaN": partial(_filled, value=float("nan")),
    "infinity": partial(_filled, value=float("inf")),
    "3e38, too large with its scale": partial(_filled, value=3e38),
    **{f"tensors of {dtype}": partial(_cast, dtype=dtype) for dtype in ("int32", "int64", "bool")},
    "a tensor too few": partial(_reshaped, change=lambda a: dict(list(a.items())[1:])),
    "a tensor too many": partial(
        _reshaped, change=lambda a: {**a, "further": np.zeros(3, dtype=np.float32)}
    ),
    "a tensor of another name": partial(
        _reshaped,
        change=lambda a: {
            f"x{key}" if not at else key: one for at, (key, one) in enumerate(a.items())
        },
    ),
    "a tensor on its side": partial(_reshaped, change=lambda a: _first(a, lambda one: one.T)),
    "a flat tensor": partial(_reshaped, change=lambda a: _first(a, lambda one: one.reshape(-1))),
    "an empty tensor": partial(_reshaped, change=lambda a: _first(a, lambda one: one[:0])),
    "no manifest": partial(_without, name="manifest.json"),
    "no tensors": partial(_without, name="tensors.safetensors"),
    "an empty manifest": partial(_manifest, text=b""),
    "a manifest that is a list": partial(_manifest, text=b"[]"),
    "a manifest of brackets": partial(_manifest, text=b"[" * 100_000),
    "a manifest that is a FIFO": partial(_fifo, name="manifest.json"),
    "tensors that are a FIFO": partial(_fifo, name="tensors.safetensors"),
    "tensors linked to what never ends": partial(
        _linked_file, name="tensors.safetensors", target="/dev/zero"
    ),
    "a manifest linked to itself": partial(
        _linked_file, name="manifest.json", target="manifest.json"
    ),
    "a link to nowhere": partial(_linked_folder, target="nowhere"),
    "a link to /proc": partial(_linked_folder, target="/proc/self"),
    **{f"a flipped bit at {at:.0%}": partial(_flipped, at=at) for at in (0.0, 0.1, 0.5, 1.0)},
}
NAMES = ("with space", "-x", "..x", "a\\b", "naïve", "a\nb", "x" * 129, "m", "%2e%2e", "a:b")
#: Run at each change too.
QUICK = {"a manifest that is a FIFO", "tensors that are a FIFO", "NaN", "a rank of 0"}

ATTACKS = [
    *(
        Attack(what, partial(refused, put=put), quick=what in QUICK, seconds=60)
        for what, put in PUT.items()
    ),
    *(
        Attack(
            f"a folder called {name[:20]!r}", partial(refused, put=_plain, name=name), seconds=60
        )
        for name in NAMES
        if name != "m"
    ),
    Attack("an adapter is exchanged for a wrong one", _swapped, seconds=60),
    Attack("adapters come and go while others are asked", _swapped_under_way, seconds=60),
    Attack("a folder goes before its adapter is asked for", _gone_under_way, seconds=60),
    *(
        Attack(f"{name} becomes a FIFO later", partial(_fifo_under_way, name=name), seconds=60)
        for name in ("manifest.json", "tensors.safetensors")
    ),
    Attack("fifty scans of a folder with a FIFO", _rescans, seconds=90),
]
AREAS = [Area("lm-adapters-folder", ATTACKS, shared=shop, memory=0)]
