"""Files of language models: altered GGUF, weights in pickle, and folders that bring code."""

from __future__ import annotations

import json
import os
import pickle
import random
import resource
import shutil
import subprocess
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from adwright.core.errors import AssetError
from adwright.lm.engine.weights import folder_of_gguf, gguf_rewritten
from tests.attacks.attack import Area, Attack
from tests.support.forks import python
from tests.support.lm.tiny_gguf import save_tiny_gguf
from tests.support.lm.tiny_llama import save_tiny

ALTERED = 120
HOWS = ("a few bits of the head", "a few bits anywhere", "the end cut off", "a count of 2^64 - 1")
#: Seconds of a verb, and bytes that reading a small file may take.
SECONDS, MEMORY = 120.0, 2 << 30
MAIN = "from adwright.cli import main; main()"
VERBS = {
    "tune run": ["tune", "run", "--data", "{pairs}", "--out", "{out}", "--steps", "1"],
    "lm generate": ["lm", "generate", "hello", "--max-tokens", "2"],
    "tune offsite owner": ["tune", "offsite", "own", "--out", "{out}", "--wait", "1"],
}


@contextmanager
def models() -> Iterator[Path]:
    """A folder with a tiny model in each form."""
    with TemporaryDirectory(prefix="attacks-") as name:
        top = Path(name)
        save_tiny(top / "plain")
        save_tiny_gguf(top / "plain.gguf")
        row = json.dumps({"prompt": "shop", "answer": "sale"})
        (top / "pairs.jsonl").write_text(f"{row}\n" * 12)
        yield top


def _altered(data: bytes, seed: int) -> bytes:
    draw, found = random.Random(seed), bytearray(data)
    match seed % len(HOWS):
        case 0 | 1 as place:
            end = 2000 if place == 0 else len(found)
            for _ in range(draw.randint(1, 10)):
                found[draw.randrange(end)] ^= 1 << draw.randrange(8)
        case 2:
            del found[draw.randrange(len(found)) :]
        case _:
            start = draw.randrange(4, 2000)
            found[start : start + 8] = b"\xff" * 8
    return bytes(found)


def _gguf(top: Path, seed: int) -> dict[str, float]:
    """Read by transformers, or by the reader that rewrites it for OpenVINO."""
    path = top / f"{seed}.gguf"
    path.write_bytes(_altered((top / "plain.gguf").read_bytes(), seed))
    before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    cache = top / f"cache-{seed}"
    refused = 0
    try:
        if seed % 8 < 4:
            folder_of_gguf(path, cache=cache)
        else:
            gguf_rewritten(path, "q8_0", cache=cache)
    except AssetError as error:
        refused = int(path.name in error.where)
        if not refused:
            raise AssertionError(f"the file is not named: {error}") from error
        left = [found for found in cache.rglob("*.safetensors") if found.is_file()]
        if left:
            raise AssertionError(f"it left {left}") from error
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024
    shutil.rmtree(cache, ignore_errors=True)
    assert grown < MEMORY, f"{grown / 1e6:.0f} MB"
    return {"refused": refused, "seconds": round(time.monotonic() - start, 2)}


class _Runs:
    """What unpickling it would do: make a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.mark),)


def _pickled(folder: Path, mark: Path) -> None:
    (folder / "model.safetensors").unlink()
    with zipfile.ZipFile(folder / "pytorch_model.bin", "w") as archive:
        archive.writestr("archive/data.pkl", pickle.dumps(_Runs(mark), protocol=2))
        archive.writestr("archive/version", "3\n")


def _coded(folder: Path, mark: Path) -> None:
    code = "from transformers import LlamaConfig, LlamaForCausalLM\n"
    code += f"import os\nos.mkdir({str(mark)!r})\n"
    code += "class C(LlamaConfig):\n    model_type = 'evil'\n"
    code += "class M(LlamaForCausalLM):\n    config_class = C\n"
    (folder / "evil.py").write_text(code)
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "model_type": "evil",
        "auto_map": {"AutoConfig": "evil.C", "AutoModelForCausalLM": "evil.M"},
    }
    (folder / "config.json").write_text(json.dumps(config))


def _verb(top: Path, verb: str, kind: str) -> None:
    """The verb on such a folder, by somebody who answers y to whatever is asked."""
    label = f"{kind}-{verb.replace(' ', '-')}"
    folder, mark = top / label, top / f"ran-{label}"
    shutil.copytree(top / "plain", folder)
    (_pickled if kind == "pickle" else _coded)(folder, mark)
    given = {"pairs": str(top / "pairs.jsonl"), "out": str(top / f"out-{label}")}
    arguments = [part.format(**given) for part in VERBS[verb]]
    found = subprocess.run(
        [python(), "-c", MAIN, *arguments, "--model", str(folder)],
        input="y\n" * 20,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        check=False,
    )
    said = found.stdout + found.stderr
    assert not mark.exists(), "the code was run"
    assert found.returncode, f"it was loaded: {said}"
    assert "Traceback" not in said, said[-400:]
    words = "weights are pickled" if kind == "pickle" else "code of its own"
    assert words in said, said[-400:]


def _attacks() -> Iterator[Attack]:
    for seed in range(ALTERED):
        name = f"GGUF, {HOWS[seed % len(HOWS)]}, seed {seed}"
        yield Attack(name, partial(_gguf, seed=seed), quick=seed < 4, seconds=120.0)
    for kind, verbs in (("pickle", list(VERBS)), ("code", list(VERBS)[:2])):
        for verb in verbs:
            what = "weights in pickle" if kind == "pickle" else "Python code in the folder"
            name = f"{what}, adwright {verb}"
            yield Attack(name, partial(_verb, verb=verb, kind=kind), seconds=SECONDS + 10)


# No bound on the address space, of which torch reserves more than it uses: memory is measured.
AREAS = [Area("model files", list(_attacks()), shared=models, memory=0)]
