"""Every method through `adwright tune`, each as a user would type it (20 CPU-minutes).

    python -m benchmarks.lm.tune_commands
    python -m benchmarks.lm.tune_commands LoRAHub peft:norms    these anew, the others as they were

Two steps of 4 titles with attributes, on the default model; a step is enough to see that a method
attaches, trains, validates and is saved. Whether it is worth anything is for benchmarks/lm/peft.py.
"""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from adwright.core.hashing import sha256_file
from adwright.lm.engine.weights import SMOLLM2_NOTE
from adwright.tuning.methods import METHODS, PeftKind
from benchmarks.common.result import RESULTS, write_result

ROWS, STEPS, BATCH = 24, 2, 4
#: What a method builds on: so many adapters of another method, with these settings.
SOURCES = {
    "AdapterFusion": (2, "SerialAdapter", ("placement=pfeiffer",)),
    "LoRAHub": (2, "LoRA", ()),
    "BitDelta": (1, "FullTuning", ()),
}
PROTOCOL = (
    f"{SMOLLM2_NOTE}. Each method by `adwright tune --data TEXTS --method NAME --steps {STEPS} "
    f"--batch {BATCH}` in a process of its own, on {ROWS} titles of AE-110k with their attributes, "
    "a tenth held. trained: the command ended well, saved a tuned part and a finite held loss."
)


def texts(folder: Path) -> tuple[Path, str]:
    """JSON lines of prompts and answers, and the hash of where they come from."""
    source = Path(os.environ["ADWRIGHT_DATA"]) / "attributes" / "train.jsonl"
    path = folder / "texts.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for line in source.read_text("utf-8").splitlines()[:ROWS]:
            row = json.loads(line)
            found = {name: next(iter(values)) for name, values in row["target_scores"].items()}
            pair = {"prompt": f"Attributes of: {row['input']}", "answer": json.dumps(found)}
            file.write(json.dumps(pair) + "\n")
    return path, sha256_file(source)


def trained(name: str, data: Path, folder: Path) -> dict[str, Any]:
    """A row: whether the command did what it says."""
    number, kind, settings = SOURCES.get(name, (0, "", ()))
    sources = [folder / f"for_{name}_{seed}" for seed in range(number)]
    for seed, out in enumerate(sources):
        tune(kind, data, out, "--seed", str(seed), *_each("--set", settings))
    out = folder / name.replace(":", "_")
    done = tune(name, data, out, *_each("--source", [str(one / "tuned") for one in sources]))
    path = out / "report.json"
    if done.returncode or not path.is_file():
        print(name, done.stderr[-600:], file=sys.stderr)
        return {"method": name, "trained": False}
    report = json.loads(path.read_text("utf-8"))
    good = math.isfinite(report["valid_nll"]) and any((out / "tuned").glob("*.safetensors"))
    print(name, f"{report['trainable']:,}", flush=True)
    keys = ("trainable", "base_nll", "valid_nll")
    return {"method": name, "trained": good} | {key: report[key] for key in keys}


def tune(method: str, data: Path, out: Path, *rest: str) -> subprocess.CompletedProcess[str]:
    """`adwright tune`, in a process of its own."""
    command = [str(Path(sys.executable).with_name("adwright")), "tune", "--data", str(data)]
    command += ["--method", method, "--steps", str(STEPS), "--batch", str(BATCH)]
    command += ["--out", str(out), *rest]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def _each(option: str, values: Sequence[str]) -> list[str]:
    return [part for value in values for part in (option, value)]


def main() -> None:
    """Tune with every method, or with those named, and write the JSON."""
    every = [name for name in METHODS if name != "Wrapped"]
    every += [f"peft:{kind.value}" for kind in PeftKind]
    names = sys.argv[1:] or every
    before = json.loads((RESULTS / "tune_commands.json").read_text("utf-8")) if sys.argv[1:] else {}
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        data, digest = texts(folder)
        with ThreadPoolExecutor(int(os.environ.get("WORKERS", "1"))) as pool:
            found = list(pool.map(lambda name: trained(name, data, folder), names))
    by = {row["method"]: row for row in (*before.get("rows", ()), *found)}
    rows = [by[name] for name in every if name in by]
    ours = [row for row in rows if not row["method"].startswith("peft:")]
    write_result(
        "tune_commands",
        protocol=PROTOCOL,
        data=digest,
        seeds=[0],
        rows=rows,
        figures={
            "methods_from_command_line": sum(row["trained"] for row in rows),
            "methods_ours": sum(row["trained"] for row in ours),
            "methods_wrapped": sum(row["trained"] for row in rows if row not in ours),
            "failed": sum(not row["trained"] for row in rows),
        },
    )


if __name__ == "__main__":
    main()
