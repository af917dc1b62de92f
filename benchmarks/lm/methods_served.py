"""Every method of the tree that is done, from texts to HTTP (about 80 CPU-seconds an entry).

    python -m benchmarks.lm.methods_served                  all that are not done yet
    python -m benchmarks.lm.methods_served LoRA "(IA)3"     these anew

An entry is trained by `adwright tune run` on the default model, merged where it can be, and asked
over HTTP: `adwright lm serve --adapters` serves all that have been trained, in one process. What
is trained lies in the cache folder under bench/ with its row, so that a call that is cut off loses
one entry; the JSON is written at the end, of whatever is there.
"""

from __future__ import annotations

import json
import resource
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import torch

from adwright.core.assets import cache_folder
from adwright.core.atomic import atomic_write_text
from adwright.lm.engine.weights import SMOLLM2_NOTE
from adwright.training.tuning.run import load_base
from adwright.tuning.methods import Entry, PeftKind, load_tuned, tree
from benchmarks.common.result import write_result
from benchmarks.lm._peft_task import VARIANTS
from benchmarks.lm.tune_commands import SOURCES, texts

NAME, STEPS, BATCH = "methods_served", 16, 4
#: Settings that make a method the entry of this name.
SETTINGS: dict[str, tuple[str, ...]] = {
    "serial adapter (Pfeiffer)": ('placement="pfeiffer"',),
    "prefix tuning": ('made_by="mlp"',),
    "S-Diff pruning": ("structured=true",),
    "SAM": ('criterion="gradient"',),
    "rsLoRA": ("rank_stabilised=true",),
    "LoRA+": ("rate_ratio=16.0",),
    "AdaLoRA": (f"steps={STEPS}",),
}
#: Rates of methods that do not move at the usual one.
RATES = {"peft:unilora": 3e-3}
#: What this command line and machine cannot train, and why.
ELSEWHERE = {
    "QLoRA": "needs a CUDA device",
    "QDyLoRA": "needs a CUDA device",
    "SPoT": "starts from another prompt, which `load_tuned` and `tune` do in Python",
}
PROTOCOL = (
    f"{SMOLLM2_NOTE}. Each entry by `adwright tune run --method NAME --steps {STEPS} --batch "
    f"{BATCH}` on titles of AE-110k with their attributes, a tenth held; rates are those of "
    "benchmarks/lm/peft.py, else 1e-3 (UniLoRA: 3e-3). CPT: the first text's tokens. falls: the "
    "held loss is below the base's. served: `adwright lm serve --adapters` answers a chat with it; "
    "differs: from the base's answer. merge_gap: the largest difference of logits, over their "
    "largest size, in float32."
)
QUESTION = "Attributes of: men's warm winter coat, black, size L"


def main() -> None:
    """Train, merge and ask what has no row yet, or what is named; write the JSON."""
    done = {entry.name: entry for entry in tree() if entry.by is not None}
    top = cache_folder() / "bench" / NAME
    (top / "adapters").mkdir(parents=True, exist_ok=True)
    data, digest = texts(top)
    for name in sys.argv[1:]:
        _row(top, name).unlink(missing_ok=True)
    for name, entry in done.items():
        if name in ELSEWHERE or _row(top, name).is_file():
            continue
        row = trained(entry, data, top)
        atomic_write_text(_row(top, name), json.dumps(row))
        print(row, flush=True)
    rows: dict[str, dict[str, Any]] = {
        name: {"entry": name, "trained": False, "why": ELSEWHERE[name]}
        if name in ELSEWHERE
        else json.loads(_row(top, name).read_text("utf-8"))
        for name in done
    }
    ask(rows, top / "adapters")
    write(rows, digest)


def _row(top: Path, name: str) -> Path:
    return top / f"{folder_of(name)}.json"


def trained(entry: Entry, data: Path, top: Path) -> dict[str, Any]:
    """A row up to the merging. The adapter lies in `top`/adapters, named by `folder_of`."""
    start = _cpu()
    method = f"peft:{entry.by}" if isinstance(entry.by, PeftKind) else str(entry.by.__name__)  # type: ignore[union-attr]
    number, kind, settings = SOURCES.get(method, (0, "", ()))
    sources = [top / f"for-{folder_of(entry.name)}-{seed}" for seed in range(number)]
    for seed, out in enumerate(sources):
        run(kind, data, out, "--seed", str(seed), *_each("--set", settings))
    out = top / "adapters" / folder_of(entry.name)
    rest = [*_each("--set", settings_of(entry.name, data))]
    rest += _each("--source", [str(one / "tuned") for one in sources])
    ended = run(method, data, out, *rest)
    row: dict[str, Any] = {"entry": entry.name, "method": method, "trained": False}
    if ended.returncode:
        return row | {"why": ended.stderr[-300:]}
    report = json.loads((out / "report.json").read_text("utf-8"))
    row |= {key: report[key] for key in ("trainable", "base_nll", "valid_nll")}
    row |= {"trained": True, "falls": row["valid_nll"] < row["base_nll"]}
    return row | {"merge_gap": merge_gap(out / "tuned"), "cpu_seconds": round(_cpu() - start, 1)}


def run(method: str, data: Path, out: Path, *rest: str) -> subprocess.CompletedProcess[str]:
    """`adwright tune run`, in a process of its own."""
    command = [_adwright(), "tune", "run", "--data", str(data), "--method", method]
    command += ["--steps", str(STEPS), "--batch", str(BATCH), "--rate", str(rate_of(method))]
    command += ["--out", str(out), "--force", *rest]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def rate_of(method: str) -> float:
    """The rate at which the search of benchmarks/lm/peft.py begins for this method."""
    found = [one.rate for one in VARIANTS.values() if one.settings.get("kind") == method]
    return found[0] if found else RATES.get(method, 1e-3)


def settings_of(name: str, data: Path) -> Sequence[str]:
    """The settings that make a method the entry of this name."""
    if name != "CPT":
        return SETTINGS.get(name, ())
    _, tokenizer, _ = load_base("smollm2-135m-instruct")
    with data.open(encoding="utf-8") as file:
        first = json.loads(next(file))
    return [f"tokens={tokenizer(first['prompt'] + chr(10) + first['answer'])['input_ids']}"]


def merge_gap(folder: Path) -> float | None:
    """By how much merging moves the logits, in parts of the largest; None where it cannot be."""
    base, tokenizer, _ = load_base("smollm2-135m-instruct", dtype=torch.float32)
    tuned = load_tuned(base, folder).eval()
    if not tuned.method.mergeable:
        return None
    ids = torch.tensor([tokenizer(QUESTION)["input_ids"]])
    with torch.no_grad():
        before = tuned.logits(tuned(ids))
        merged: Any = tuned.merge()
        after = merged(input_ids=ids).logits
    return float((after - before).abs().max() / before.abs().max())


def ask(rows: dict[str, dict[str, Any]], top: Path) -> None:
    """Add to the rows what each adapter answers."""
    with serving(top) as url:
        told = _answer(url, "base")
        for name, row in rows.items():
            if row["trained"]:
                start = time.perf_counter()
                answer = _answer(url, folder_of(name))
                row |= {
                    "served": answer is not None,
                    "differs": answer != told,
                    "answer": (answer or "")[:80],
                    "answer_seconds": round(time.perf_counter() - start, 1),
                }


@contextmanager
def serving(top: Path) -> Iterator[str]:
    """The address of `adwright lm serve --adapters`, which ends with the context."""
    command = [_adwright(), "lm", "serve", "--adapters", str(top), "--name", "base", "--port", "0"]
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        for line in server.stdout or ():
            if line.startswith("serving on "):
                yield line.removeprefix("serving on ").strip()
                break
        else:
            raise RuntimeError("the server has not started")
    finally:
        server.terminate()
        server.wait()


def folder_of(name: str) -> str:
    """A name as a folder, and as a model."""
    plain = name.replace("+", " plus").lower()
    return "".join(letter if letter.isalnum() else "-" for letter in plain).strip("-")


def write(rows: dict[str, dict[str, Any]], digest: str) -> None:
    """Write the JSON, in the order of the tree."""
    found = list(rows.values())
    counts = {
        key: sum(bool(row.get(key)) for row in found) for key in ("trained", "falls", "served")
    }
    gaps = [row["merge_gap"] for row in found if row.get("merge_gap") is not None]
    figures: dict[str, float] = {"entries": len(found), **counts, "merged": len(gaps)}
    figures["merge_gap_most"] = max(gaps, default=0.0)
    figures["cpu_seconds"] = sum(row.get("cpu_seconds", 0.0) for row in found)
    write_result(NAME, protocol=PROTOCOL, data=digest, seeds=[0], rows=found, figures=figures)


def _answer(url: str, model: str) -> str | None:
    body = {
        "model": model,
        "messages": [{"role": "user", "content": QUESTION}],
        "max_tokens": 24,
        "temperature": 0,
    }
    response = httpx.post(f"{url}/chat/completions", json=body, timeout=300)
    if response.status_code != 200:
        print(model, response.text, file=sys.stderr)
        return None
    return str(response.json()["choices"][0]["message"]["content"])


def _cpu() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return children.ru_utime + children.ru_stime + time.process_time()


def _each(option: str, values: Sequence[str]) -> list[str]:
    return [part for value in values for part in (option, value)]


def _adwright() -> str:
    return str(Path(sys.executable).with_name("adwright"))


if __name__ == "__main__":
    main()
