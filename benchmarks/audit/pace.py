"""How many candidates a second of one core tries, ours beside nanoGCG 0.3.0 on the same prompt.

    python -m benchmarks.audit.pace              both, then the result (10 minutes)
    python -m benchmarks.audit.pace --ours       without the peer, keeping nothing

Both attack the same record in the middle of a prompt of about 350 tokens, with the same weights on
one thread; half of the prompt follows the attacked text. A pace is candidates over CPU-seconds of
whole steps: gradient, drawing, the check of retokenisation, losses. nanoGCG keeps the keys and
values of what stands before the attacked text, as it comes.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np
import torch

from adwright.audit.attacks.attack import AttackGoal
from adwright.audit.attacks.gradient import GradientConfig, SuffixSearch
from adwright.audit.attacks.gradient_reading import (
    ReadPrompt,
    SuffixPlace,
    SuffixReader,
    allowed_tokens,
)
from adwright.audit.targets.chat import list_messages
from adwright.audit.targets.likelihood import LikelihoodTarget
from adwright.lm.engine.weights import smollm2_folder
from adwright.lm.torch_engine.config import TorchConfig
from adwright.lm.torch_engine.model import TorchModel, load_causal
from benchmarks.audit.pushed.lab import faster_dtype, shop
from benchmarks.common.result import write_result
from benchmarks.peers.environments import build
from benchmarks.peers.harness import ALLOCATOR

_ROOT = Path(__file__).resolve().parents[1]
_ORDER = (0, 1, 2, 3, 4)
#: The gradient of a step is shared by its candidates, so that all have as many.
_CANDIDATES, _STEPS = 64, 2
#: Candidates that nanoGCG reads together, as its logits of whole prompts are large.
_BATCH = 16
_START = " x" * 20
_PROTOCOL = (
    "SmolLM2-135M-Instruct, one thread; the third of five coffee machines is attacked in a prompt "
    "of about 350 tokens, 20 tokens, top 256, one swap. A pace is candidates over CPU-seconds of "
    "whole steps (gradient, drawing, retokenisation check, losses), the mean of two steps, 64 "
    "candidates a step. exact: every one is read exactly. look: they are tried by a look, which "
    "keeps what lies between the text and the answer, an approximation, and the best is read "
    "exactly; one order. nanoGCG 0.3.0 with its prefix cache and filter, in batches of 16, with "
    "both types, of which the faster one counts, and with malloc set to keep large blocks, which "
    "ours does without. Other work ran on the second thread of the core. rank: the ranker of "
    "the audit, products ranked per CPU-second in a prompt of ten."
)


def main(argv: Sequence[str] | None = None) -> None:
    """Measure, and write benchmarks/results/pace.json."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0] if __doc__ else "")
    parser.add_argument("--ours", action="store_true", help="without the peer, keeping nothing")
    parser.add_argument("--peer-python", help="an interpreter that has nanogcg already")
    asked = parser.parse_args(argv)
    rows = _ours()
    if asked.ours:
        print(*rows, sep="\n")
        return
    peer = _peer(asked.peer_python)
    rows += peer
    by_name = {row["system"]: float(row["pace"]) for row in rows}
    best = max(row["pace"] for row in peer)
    figures = {
        "gcg_candidates_per_cpu_second_350": by_name["ours, look"],
        "gcg_exact_candidates_per_cpu_second_350": by_name["ours, exact"],
        "nanogcg_candidates_per_cpu_second_350": best,
        "gcg_pace_over_nanogcg": round(by_name["ours, look"] / best, 1),
        "gcg_exact_pace_over_nanogcg": round(by_name["ours, exact"] / best, 2),
        "rank_products_per_cpu_second": by_name["ranker"],
    }
    digest = shop("coffee_machines").only(_ORDER).digest()
    write_result("pace", protocol=_PROTOCOL, data=digest, seeds=[0], rows=rows, figures=figures)


def _goal() -> AttackGoal:
    return AttackGoal(shop("coffee_machines").only(_ORDER), 2)


def _ours() -> list[dict[str, Any]]:
    single = faster_dtype() == torch.float32
    config = TorchConfig(dtype="float32" if single else "bfloat16", threads=1)
    network, tokens, note = load_causal(config)
    dtype = config.dtype
    goal, rows = _goal(), []
    for reading in ("exact", "look"):
        settings = GradientConfig(
            start="x",
            candidates=_CANDIDATES,
            order_count=1,
            reading="exact" if reading == "exact" else "look",
        )
        count = settings.candidates
        place = SuffixPlace(goal, tokens, _START)
        reader = SuffixReader(network)
        search = SuffixSearch(place, reader, settings, allowed_tokens(tokens, reader.vocabulary))
        bases = search.read([place.prompt(_ORDER)], place.first)
        seconds, read = _timed(search, reader, bases)
        prompt = bases[0].prompt
        rows.append(
            {
                "system": f"ours, {reading}",
                "pace": round(count * _STEPS / seconds, 2),
                "dtype": dtype,
                "tokens": len(prompt.ids),
                "tokens_behind": len(prompt.ids) - prompt.end,
                "tokens_read_a_candidate": round(read / (count * _STEPS), 1),
                "note": note,
            }
        )
    target = LikelihoodTarget(TorchModel(network, tokens, name="smollm2", note=note))
    asks = AttackGoal(shop("coffee_machines"), 2).asks("", [tuple(range(10))])
    target.rank(asks)
    began = time.process_time()
    target.rank(asks)
    pace = 10 / (time.process_time() - began)
    return [*rows, {"system": "ranker", "pace": round(pace, 2), "dtype": dtype, "note": note}]


def _timed(
    search: SuffixSearch, reader: SuffixReader, bases: list[ReadPrompt]
) -> tuple[float, int]:
    """CPU-seconds of some steps after one that does not count, and tokens that they read."""
    rng = np.random.default_rng(0)
    chosen = search.step(bases, 0, rng)
    began, before = time.process_time(), reader.tokens_read
    for _ in range(_STEPS):
        bases = bases if chosen is None else chosen.bases
        chosen = search.step(bases, 0, rng)
    return time.process_time() - began, reader.tokens_read - before


def _peer(python: str | None) -> list[dict[str, Any]]:
    """The same prompt in nanoGCG: a row for each type."""
    goal = _goal()
    (ask,) = goal.asks("{optim_str}", [_ORDER])
    messages = [{"role": one.role, "content": one.content} for one in list_messages(ask)]
    dtypes = ("float32", "bfloat16")
    question = {
        "model": str(smollm2_folder()),
        "dtypes": dtypes,
        "messages": messages,
        "target": f"1. {goal.name}",
        "start": _START.strip(),
        "candidates": _CANDIDATES,
        "batch": _BATCH,
        "steps": _STEPS,
        "threads": 1,
    }
    runner = _ROOT / "peers" / "run_nanogcg.py"
    with TemporaryDirectory() as folder:
        source, out = Path(folder) / "ask.json", Path(folder) / "out.json"
        source.write_text(json.dumps(question), "utf-8")
        interpreter = python or str(build("nanogcg"))
        # None of our packages on its path.
        kept = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
        own = kept | ALLOCATOR | {"PYTHONNOUSERSITE": "1", "OMP_NUM_THREADS": "1"}
        subprocess.run([interpreter, str(runner), str(source), str(out)], check=True, env=own)
        found = json.loads(out.read_text("utf-8"))
    return [
        {
            "system": "nanoGCG 0.3.0",
            "pace": round(_CANDIDATES * _STEPS / (found[dtype]["all"] - found[dtype]["first"]), 3),
            "dtype": dtype,
            "note": " ".join(found["versions"]),
        }
        for dtype in dtypes
    ]


if __name__ == "__main__":
    main()
