"""Bulk jobs over products of Walmart-Amazon: their pace, what kills do to them, and other servers.

pace      headlines of 64 products by `run_job` on each engine of this machine, and of 24 by
          transformers' generate, one by one, in float32 and bfloat16 of which the faster
          counts; the same model, prompts, greedy choice and bound on the answer; one thread
kills     2,000 products; the process is killed with SIGKILL ten times, each time after another
          eleventh of the texts, and started again with the same command
servers   40 products through `adwright lm serve` and through llama.cpp's server
"""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from random import Random
from typing import IO, Any, cast

from adwright.authoring.instructions.sources import product_of, read_matches
from adwright.authoring.tasks import AuthoringRequest, task_named
from adwright.authoring.writer.asking import open_writer
from adwright.authoring.writer.config import WriteConfig, slot_named
from adwright.authoring.writer.drafts import JOURNAL, Drafts
from adwright.authoring.writer.job import WriteReport, run_job
from adwright.authoring.writer.products import ProductTable, read_products
from adwright.authoring.writer.recipe import recipe_of
from adwright.lm.engine.weights import quiet, smollm2_folder
from adwright.lm.open_model import LmSpec
from benchmarks.common.processes import command
from benchmarks.common.result import ROOT

_SLOT = "headline"
_CONFIG = WriteConfig(slots=(_SLOT,), attempts=1)
_ENGINES: tuple[str, ...] = ("auto", "paged")
_SELF = "benchmarks.authoring._bulk"
#: Seconds between two looks at the journal, and that a kill comes later at most.
_WAIT, _LATER = 0.05, 3.0


def pace_job(trial: int = 0) -> dict[str, Any]:
    """Rows and tokens per CPU-second of each way."""
    found: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as top:
        table = _table(Path(top), trial or 192)
        for engine in _ENGINES:
            report = _run(table, Path(top) / engine, LmSpec(engine=engine, threads=1))
            found[engine] = {
                "engine": report.engine,
                "rows_per_cpu_second": report.texts_per_cpu_second,
                "tokens_per_row": report.answer_tokens / max(report.asked, 1),
                "cached_share": report.cached_tokens / max(report.prompt_tokens, 1),
            }
        for dtype in ("float32", "bfloat16"):
            found[f"transformers_{dtype}"] = _one_by_one(table, dtype, min(trial or 24, 24))
    return found


def kill_job(trial: int = 0, kills: int = 10) -> dict[str, Any]:
    """Kill the job, and count what stands in its journal in the end."""
    count = trial or 2000
    with tempfile.TemporaryDirectory() as top:
        table = _table(Path(top), count)
        out, killed, chance = Path(top) / "out", 0, Random(0)
        began = time.monotonic()
        while True:
            process = subprocess.Popen(
                command(_SELF, "write", table.path, out),
                cwd=ROOT,
                env=os.environ | {"OMP_NUM_THREADS": "1"},
                start_new_session=True,
            )
            if killed < kills:
                least = (killed + 1) * count // (kills + 1)
                while process.poll() is None and len(_drafted(out)) < least:
                    time.sleep(_WAIT)
                # Anywhere in the work on a batch, not only behind its writing.
                time.sleep(chance.uniform(0, _LATER))
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGKILL)
                    killed += 1
                    process.wait()
                    continue
            if process.wait():
                raise RuntimeError(f"the job failed with {process.returncode}")
            break
        times = Counter(_drafted(out))
        with closing(Drafts.open(out, reading_only=True)) as drafts:
            failed = len(drafts.failures())
    return {
        "products": len(table.products),
        "kills": killed,
        "lost": len(table.products) - len(times) - failed,
        "twice": sum(times.values()) - len(times),
        "failed": failed,
        "wall_seconds": round(time.monotonic() - began, 1),
    }


def server_job(trial: int = 0) -> dict[str, Any]:
    """The reports of the same job through two servers, and whether they have one form."""
    reports: dict[str, WriteReport] = {}
    with tempfile.TemporaryDirectory() as top:
        table = _table(Path(top), trial or 40)
        for name, server in (("adwright", _adwright_server), ("llama.cpp", _llama_server)):
            with server() as url:
                model = LmSpec(model="smollm2-135m-instruct", url=url, concurrency=8)
                reports[name] = _run(table, Path(top) / name, model)
    first, second = (one.as_json() for one in reports.values())
    return {
        "same_form": int(_form(first) == _form(second)),
        "written": {name: one.written for name, one in reports.items()},
        "failed": {name: one.failed for name, one in reports.items()},
        "prompt_tokens": {name: one.prompt_tokens for name, one in reports.items()},
        "answer_tokens": {name: one.answer_tokens for name, one in reports.items()},
    }


def _run(table: ProductTable, out: Path, model: LmSpec) -> WriteReport:
    with open_writer(model) as opened:
        return run_job(table, out, _CONFIG, opened)


def _one_by_one(table: ProductTable, dtype: str, rows: int) -> dict[str, Any]:
    """transformers' generate in a loop, on the prompts of our job."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    torch.set_num_threads(1)
    folder = str(smollm2_folder())
    tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    with quiet():
        model: Any = AutoModelForCausalLM.from_pretrained(
            folder, local_files_only=True, dtype=getattr(torch, dtype)
        )
    with open_writer(LmSpec(engine="paged", threads=1)) as opened:
        prompt = recipe_of(_CONFIG, opened).prompts[_SLOT]
    requests = [AuthoringRequest(task_named("ads"), one) for one in table.products[:rows]]
    tokens = slot_named(_SLOT).tokens
    began, written = time.process_time(), 0
    for request in requests:
        turns = [{"role": one.role, "content": one.content} for one in prompt.messages(request)]
        ids: Any = tokenizer.apply_chat_template(
            turns, add_generation_prompt=True, return_tensors="pt", return_dict=True
        )
        answer = model.generate(
            **ids,
            max_new_tokens=tokens,
            do_sample=False,
            pad_token_id=tokenizer.eos_token_id,
            # A headline ends with its line, as in our job.
            stop_strings=["\n"],
            tokenizer=tokenizer,
        )
        written += answer.shape[1] - ids["input_ids"].shape[1]
    seconds = time.process_time() - began
    return {"rows_per_cpu_second": rows / seconds, "tokens_per_row": written / rows}


def _table(folder: Path, count: int) -> ProductTable:
    """The first products with a title, as a CSV file."""
    path = folder / "products.csv"
    made = 0
    with path.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["id", "title", "brand", "price"])
        for record in read_matches(Path(os.environ["ADWRIGHT_DATA"]) / "walmart-amazon"):
            product = product_of(record)
            if product.title and made < count:
                writer.writerow([product.id, product.title, product.brand, product.price])
                made += 1
    return read_products(path)


def _drafted(out: Path) -> list[tuple[str, ...]]:
    """The keys of the drafts in a journal, in order; a torn last line is none."""
    try:
        lines = (out / JOURNAL).read_bytes().splitlines(keepends=True)
    except FileNotFoundError:
        return []
    whole = (json.loads(line) for line in lines if line.endswith(b"\n") and b'{"draft"' in line)
    return [tuple(map(str, one["draft"][:3])) for one in whole if "draft" in one]


@contextmanager
def _adwright_server() -> Iterator[str]:
    program = [str(Path(sys.executable).with_name("adwright")), "lm", "serve", "--port", "0"]
    with _served([*program, "--threads", "1"]) as url:
        yield url


@contextmanager
def _llama_server() -> Iterator[str]:
    with _served(command(_SELF, "serve")) as url:
        yield url


@contextmanager
def _served(program: Sequence[str]) -> Iterator[str]:
    """Start a server that prints its address, and end it afterwards."""
    process = subprocess.Popen(
        program,
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    try:
        for line in cast(IO[str], process.stdout):
            if line.startswith("serving on "):
                yield line.removeprefix("serving on ").strip()
                return
        raise RuntimeError(f"the server ended with {process.wait()}")
    finally:
        process.terminate()
        process.wait()


def _serve_llama() -> None:
    """llama.cpp's own server on a free port, until the standard input ends."""
    from importlib import import_module

    from adwright.lm.engine.weights import smollm2_gguf

    xllamacpp = import_module("xllamacpp")
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(smollm2_gguf())
    parameters.n_ctx, parameters.n_parallel, parameters.kv_unified = 16_384, 8, True
    parameters.cpuparams.n_threads = parameters.cpuparams_batch.n_threads = 1
    parameters.fit_params, parameters.cache_ram_mib, parameters.ui = False, 0, False
    parameters.verbosity = 1
    # Kept: the server ends with its last reference.
    server = xllamacpp.Server(parameters)
    print(f"serving on {server.listening_address.rstrip('/')}/v1", flush=True)
    sys.stdin.read()


def _form(value: Any) -> Any:
    """The keys and types of a report; what findings there are differs from text to text."""
    if isinstance(value, dict):
        return {key: {} if key == "findings" else _form(one) for key, one in value.items()}
    return type(value).__name__


def main() -> None:
    """`write TABLE OUT`: the job that is killed. `serve`: llama.cpp's server."""
    match sys.argv[1:]:
        case ["write", table, out]:
            _run(read_products(Path(table)), Path(out), LmSpec(threads=1))
        case ["serve"]:
            _serve_llama()
        case other:
            raise SystemExit(f"unknown: {other}")


if __name__ == "__main__":
    main()
