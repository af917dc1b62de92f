"""What a call may name to be loaded as an adapter: nothing outside the folder, and nothing broken;
and calls that come all at once."""

from __future__ import annotations

import json
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from adwright.tuning.reparameterised.lora import LoRA
from tests.attacks.attack import Area, Attack
from tests.attacks.lm.adapters_folder import Shop, shop
from tests.support.lm.adapter_engine import saved_parts

_HEAD = {"content-type": "application/json"}


def _call(shared: Shop, verb: str, body: Any) -> int:
    url = f"{shared.server.url}/v1/{verb}_lora_adapter"
    return httpx.post(url, content=json.dumps(body), headers=_HEAD, timeout=30).status_code


def _names(shared: Shop) -> list[str]:
    return [one["id"] for one in shared.server.get("v1/models").json()["data"]]


def _refused(shared: Shop, verb: str, body: Any) -> None:
    before = _names(shared)
    assert _call(shared, verb, body) in (400, 404, 409, 413)
    assert _names(shared) == before
    assert shared.ask("good") == 200


def _elsewhere(shared: Shop, path: str, name: str = "evil") -> None:
    """The path of an adapter that is whole, outside or by a link; {out} stands for its folder."""
    out = shared.top.parent / "outside"
    if not out.exists():
        saved_parts(out, {"part": LoRA(rank=2)})
    links: dict[str, Path] = {"link": out, "deep/link": out / "part", "inner/tuned": out / "part"}
    for link, target in links.items():
        place = shared.top / link
        place.parent.mkdir(exist_ok=True)
        if not place.is_symlink():
            place.symlink_to(target)
    _refused(shared, "load", {"lora_name": name, "lora_path": path.format(out=out)})


def _fifo(shared: Shop, name: str) -> None:
    place = shared.top / "pipe"
    place.mkdir(exist_ok=True)
    (place / name).unlink(missing_ok=True)
    os.mkfifo(place / name)
    _refused(shared, "load", {"lora_name": "evil", "lora_path": "pipe"})
    (place / name).unlink()


def _all_at_once(shared: Shop) -> dict[str, float]:
    """Loads and unloads of one name, and questions to it, from sixteen callers."""
    body = {"lora_name": "again", "lora_path": "good"}

    def one(at: int) -> int:
        if at % 3 == 0:
            return shared.ask("again")
        return _call(shared, "load" if at % 3 == 1 else "unload", body if at % 3 == 1 else named)

    named = {"lora_name": "again"}
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(one, range(96)))
    assert set(found) <= {200, 404, 409}, sorted(set(found))
    assert shared.ask("good") == 200
    if "again" in _names(shared):
        assert _call(shared, "unload", named) == 200
    return {"calls": len(found)}


PATHS = (
    *("..", ".", "/", "", "../outside/part", "good/../../outside/part", "{out}/part", "{out}"),
    *("link", "link/part", "deep/link", "inner", "/proc/self", "/proc/self/cwd", "/dev"),
    *("//{out}/part", "good/../..", "a\0b", "\ud800", "a" * 5000, "a/" * 2000, "nowhere"),
    *("%2e%2e/outside/part", "..\\outside\\part", "~", "file://{out}/part", "$HOME", "*"),
    *("good/manifest.json", "good/tensors.safetensors", "\u2024\u2024/outside/part", "good\n"),
)
NAMES = ("", ".", "..", "a/b", "../x", "a b", "a\0", "\ud800", "x" * 129, "m", "good", "%2e", "-x")
BODIES: dict[str, Any] = {
    "nothing": {},
    "a list": [],
    "a path alone": {"lora_path": "good"},
    "a number as path": {"lora_name": "evil", "lora_path": 5},
    "a list as path": {"lora_name": "evil", "lora_path": ["good"]},
    "null as path": {"lora_name": "evil", "lora_path": None},
    "a further field": {"lora_name": "evil", "lora_path": "good", "base_model_name": "x"},
    "a megabyte": {"lora_name": "evil", "lora_path": "a" * (1 << 20)},
}
_QUICK = {"../outside/part", "{out}/part", "link/part", "inner"}

ATTACKS = [
    *(
        Attack(f"the path {path[:30]!r}", partial(_elsewhere, path=path), quick=path in _QUICK)
        for path in PATHS
    ),
    *(
        Attack(f"the name {name[:30]!r}", partial(_elsewhere, path="good", name=name))
        for name in NAMES
    ),
    *(
        Attack(f"{verb}: {what}", partial(_refused, verb=verb, body=body))
        for what, body in BODIES.items()
        for verb in ("load", "unload")
        if what != "a further field" or verb == "load"
    ),
    *(
        Attack(f"unload {name[:20]!r}", partial(_refused, verb="unload", body={"lora_name": name}))
        for name in ("m", "none", "", "..", "\ud800", "x" * 5000)
    ),
    *(
        Attack(f"{name} is a FIFO", partial(_fifo, name=name), quick=name[0] == "m", seconds=60)
        for name in ("manifest.json", "tensors.safetensors")
    ),
    Attack("all at once", _all_at_once, seconds=120),
]
AREAS = [Area("lm-load-adapter", ATTACKS, shared=shop, memory=0)]
