"""Teach a small model to write scripts, on tasks whose solutions were proved (1.5 CPU-hours).

    python -m benchmarks.agent.train_writer                    all of it, goes on where it was
    python -m benchmarks.agent.train_writer --minutes 30       at most so long on the real apps
    python -m benchmarks.agent.train_writer --apps oscar       make no new tasks of the others
    python -m benchmarks.agent.train_writer --measure          measure the adapter that is there
    python -m benchmarks.agent.train_writer --trial            all steps on a random model of 80,000
                                                               weights; keeps nothing

Tasks come from made-up consoles, from the shop's dashboard and from the store's pages, see
`benchmarks.agent.synthesis`. Judged are words and states that learning has not seen: how often the
greedy script, decoded by the grammar, passes the check, and how often it is the solution. The
adapter goes to weights/agent_writer, with a card beside it.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, get_args

import numpy as np

from adwright.agent.document.elements import AppDocument
from adwright.agent.document.text_format import document_text, read_document
from adwright.agent.generate.retrieve import ElementIndex
from adwright.agent.generate.writing import (
    WRITER_ADAPTER,
    WRITER_BEAM,
    WRITER_RETRIEVE,
    open_tuned_writer,
    write_scripts,
)
from adwright.agent.language.script import print_script
from adwright.core.artifacts import load_artifact, save_artifact
from adwright.core.assets import cache_folder
from adwright.core.atomic import atomic_write_text
from adwright.core.clock import SystemClock
from adwright.core.config import from_jsonable, to_jsonable
from adwright.lm.engine.generation import LanguageModel
from adwright.lm.engine.weights import SMOLLM2
from adwright.lm.open_model import open_model
from adwright.lm.torch_engine.config import TorchConfig
from adwright.tuning.tuned import KIND
from benchmarks.agent.synthesis.intents import IntentConfig
from benchmarks.agent.synthesis.known_items import KnownApp, look_around
from benchmarks.agent.synthesis.synthesise import (
    SynthesisConfig,
    document_hash,
    read_synthesised,
    synthesise,
)
from benchmarks.agent.synthesis.tuning_rows import (
    RowSplit,
    TuningRow,
    TuningRows,
    tuning_rows,
    write_tuning_rows,
)
from benchmarks.agent.writer.app_copies import AppCopies, copies
from benchmarks.agent.writer.card import writer_card
from benchmarks.agent.writer.made_app import MadeApp
from benchmarks.agent.writer.made_plan import draw_plan
from benchmarks.common.result import RESULTS, write_result

NAME = "agent_writer"
SEED = 11
#: Tasks of each made-up app, and of each real one.
EACH, REAL = 12, 90
METHOD = {"kind": "LoRA", "rank": 8, "alpha": 16.0, "dropout": 0.0}
RATE, BATCH, TOKENS = 2e-3, 8, 640
REAL_APPS = ("admin", "oscar")


@dataclass(frozen=True)
class WriterPlan:
    """Where it is made, measured and put, and how large it is. model: what is tuned. minutes: for
    the real apps. made: made-up apps. rows: to learn from, at most. judged: tasks of each split."""

    scratch: Path = cache_folder() / "bench" / "agent-writer"
    results: Path = RESULTS
    shipped: Path = WRITER_ADAPTER
    model: str = SMOLLM2
    apps: tuple[str, ...] = REAL_APPS
    minutes: float = 60.0
    made: int = 110
    rows: int = 1_800
    judged: int = 60


@dataclass(frozen=True)
class WriterScore:
    """Of the tasks of one split: shares of greedy scripts that pass the check, and that are the
    solution. tokens_in: of a task."""

    model: str
    split: RowSplit
    tasks: int
    checked: float
    solved: float
    tokens_in: float
    seconds: float


def main(argv: Sequence[str] | None = None) -> None:
    """Make tasks, tune, measure, and put the adapter into the package."""
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    usual = WriterPlan()
    parser.add_argument("--minutes", type=float, default=usual.minutes, help="for the real apps")
    parser.add_argument("--measure", action="store_true", help="make and train nothing")
    parser.add_argument("--trial", action="store_true", help="small, quick, and kept nowhere")
    parser.add_argument("--apps", nargs="*", choices=REAL_APPS, default=REAL_APPS)
    parser.add_argument("--rows", type=int, default=usual.rows, help="to learn from, at most")
    parser.add_argument("--judged", type=int, default=usual.judged, help="tasks of each split")
    asked = parser.parse_args(argv)
    if asked.trial:
        _try_out()
        return
    plan = replace(
        usual,
        minutes=asked.minutes,
        apps=tuple(asked.apps),
        judged=asked.judged,
        rows=asked.rows,
    )
    _make(plan, measure=asked.measure)


def _make(plan: WriterPlan, *, measure: bool = False) -> list[WriterScore]:
    if not measure:
        _make_tasks(plan)
    rows, documents = _rows(plan)
    training = _noted(plan) if measure else _trained(plan, rows)
    adapter = _halved(plan)
    scores = _scores(plan, rows, documents, adapter)
    _ship(plan, training, scores, adapter)
    return scores


def _try_out() -> None:
    """All steps on a random model and two made-up apps, in a folder that is thrown away."""
    from transformers import LlamaForCausalLM

    from tests.support.lm.tiny_llama import tiny_llama, tiny_tokenizer

    with TemporaryDirectory() as scratch:
        top = Path(scratch)
        config = tiny_llama().config
        config.max_position_embeddings = 4 * TOKENS
        LlamaForCausalLM(config).save_pretrained(top / "base")
        tiny_tokenizer().save_pretrained(top / "base")
        plan = WriterPlan(
            top / "made",
            top / "results",
            top / "adapter",
            str(top / "base"),
            apps=(),
            made=2,
            rows=24,
            judged=3,
        )
        _make(plan)
        _trained(plan, _rows(plan)[0])  # a run that is over can be gone on with, too
        scores = _make(plan, measure=True)
        with closing(open_tuned_writer(plan.shipped, model=plan.model, threads=1)) as model:
            note = model.info.note
        for one in scores:
            print(one)
        size = len((plan.shipped / "README.md").read_text("utf-8"))
        print(f"the adapter opens ({note.strip('; ')}), its card has {size} letters; all is gone")


# --- tasks -----------------------------------------------------------------------------


def _make_tasks(plan: WriterPlan) -> None:
    if (plan.scratch / "train.jsonl").exists():
        return  # what is learned from stays as it is
    clock = SystemClock()
    if plan.apps:
        _make_real(plan, clock.monotonic() + 60 * plan.minutes, clock)
    for seed in range(plan.made):
        app = MadeApp(draw_plan(seed))
        document = app.document()
        _keep(plan, document)
        intents = IntentConfig(a_form=1, a_list=1, most=EACH, seed=SEED + seed)
        config = SynthesisConfig(intents, learn=2, judge=1, held=8, seed=SEED)
        synthesise(document, app, plan.scratch / "made.jsonl", config, clock=clock)


def _make_real(plan: WriterPlan, ends: float, clock: SystemClock) -> None:
    from adwright.agent.drivers.chromium import open_browser

    with TemporaryDirectory() as scratch, open_browser() as browser:
        for done, name in enumerate(plan.apps):
            with copies(name, browser, Path(scratch) / name) as found:  # type: ignore[arg-type]
                _keep(plan, found.document)
                intents = IntentConfig(a_form=1, a_list=1, most=REAL, seed=SEED)
                config = SynthesisConfig(intents, learn=3, judge=1, held=6, seed=SEED)
                report = synthesise(
                    found.document,
                    found.app,
                    plan.scratch / f"{name}.jsonl",
                    config,
                    clock=clock,
                    known=_known(plan, found),
                    seconds=max((ends - clock.monotonic()) / (len(plan.apps) - done), 0.0),
                )
                print(name, report)


def _known(plan: WriterPlan, found: AppCopies) -> KnownApp:
    """What there is in an app, looked up once."""
    path = plan.scratch / f"known-{found.app.name}-{document_hash(found.document)[:12]}.json"
    if not path.exists():
        known = look_around(found.document, found.app, items=6, pages=1)
        atomic_write_text(path, json.dumps(to_jsonable(known), indent=1) + "\n")
    return from_jsonable(KnownApp, json.loads(path.read_text("utf-8")))


def _keep(plan: WriterPlan, document: AppDocument) -> None:
    path = plan.scratch / "documents" / f"{document_hash(document)}.txt"
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        atomic_write_text(path, document_text(document))


def _rows(plan: WriterPlan) -> tuple[TuningRows, Mapping[str, AppDocument]]:
    folder = plan.scratch / "documents"
    documents = {path.stem: read_document(path) for path in sorted(folder.glob("*.txt"))}
    tasks = [
        task
        for name in (*REAL_APPS, "made")
        for task in read_synthesised(plan.scratch / f"{name}.jsonl")
    ]
    return tuning_rows(tasks, documents), documents


# --- training --------------------------------------------------------------------------


def _trained(plan: WriterPlan, rows: TuningRows) -> dict[str, Any]:
    """Tune on the rows, or go on with it; what it took."""
    from adwright.training.tuning.run import TuneRun, run_tuning
    from adwright.training.tuning.texts import PairsConfig
    from adwright.training.tuning.tune import TuneConfig
    from adwright.tuning.methods import method_of

    data = plan.scratch / "train.jsonl"
    if not data.exists():
        learn = list(rows.of("learn"))
        random.Random(SEED).shuffle(learn)
        write_tuning_rows(data, learn[: plan.rows])
    asked = TuneRun(
        data=PairsConfig(data, group="group", valid=0.02, max_length=TOKENS),
        method=method_of(METHOD),
        model=plan.model,
        tune=TuneConfig(
            epochs=1,
            batch=BATCH,
            micro=BATCH,
            learning_rate=RATE,
            warmup=0.03,
            checkpoint_every=20,
        ),
        seed=SEED,
        out=plan.scratch / "run",
    )
    begun = time.process_time()
    report = run_tuning(asked, resume=(asked.out / "run" / "config.json").exists())
    told = {
        "base": report.base,
        "method": report.method,
        "settings": dict(report.settings),
        "trainable": report.trainable,
        "rows": report.texts,
        "missed": rows.missed,
        "steps": report.steps,
        "tokens": report.tokens,
        "cut": report.cut,
        "base_nll": report.base_nll,
        "valid_nll": report.valid_nll,
        "cpu_seconds": round(max(report.cpu_seconds, time.process_time() - begun), 1),
    }
    return told | _shares(_counts_of_tasks(plan))


def _counts_of_tasks(plan: WriterPlan) -> dict[str, tuple[int, int]]:
    """By app, the tasks that were kept and refused."""
    found = {}
    for name in (*REAL_APPS, "made"):
        tasks = read_synthesised(plan.scratch / f"{name}.jsonl")
        kept = sum(not one.cause for one in tasks)
        found[name] = (kept, len(tasks) - kept)
    return found


def _shares(found: Mapping[str, tuple[int, int]]) -> dict[str, int]:
    told = {f"kept_{name}": kept for name, (kept, _) in found.items()}
    return told | {f"refused_{name}": refused for name, (_, refused) in found.items()}


def _noted(plan: WriterPlan) -> dict[str, Any]:
    return dict(json.loads((plan.results / f"{NAME}.json").read_text("utf-8"))["rows"][0])


# --- judging ---------------------------------------------------------------------------


def _scores(
    plan: WriterPlan, rows: TuningRows, documents: Mapping[str, AppDocument], adapter: Path
) -> list[WriterScore]:
    found = []
    for name in ("untuned", "tuned"):
        opened: LanguageModel = (
            open_tuned_writer(adapter, model=plan.model, threads=1)
            if name == "tuned"
            else open_model(TorchConfig(plan.model, threads=1))
        )
        with closing(opened) as model:
            for split in get_args(RowSplit)[1:]:
                drawn = _drawn(rows, split, plan.judged if name == "tuned" else plan.judged // 3)
                if drawn:
                    found.append(_score(name, split, model, drawn, documents))
    return found


def _drawn(rows: TuningRows, split: RowSplit, count: int) -> list[TuningRow]:
    fits = list(rows.of(split))
    return random.Random(f"{SEED} {split}").sample(fits, min(count, len(fits)))


def _score(
    name: str,
    split: RowSplit,
    model: LanguageModel,
    rows: Sequence[TuningRow],
    documents: Mapping[str, AppDocument],
) -> WriterScore:
    config = replace(WRITER_BEAM, scripts=1, repairs=0, brief=name == "tuned")
    indexes: dict[str, ElementIndex] = {}
    checked = solved = tokens = 0
    begun = time.process_time()
    for row in rows:
        document = documents[row.document]
        if row.document not in indexes:
            indexes[row.document] = ElementIndex(document)
        retrieved = indexes[row.document].retrieve(row.task, WRITER_RETRIEVE)
        found = write_scripts(model, row.task, document, retrieved, config=config)
        tokens += found.tokens_in
        checked += found.best is not None
        solved += found.best is not None and print_script(found.best.script) == row.script
    count = len(rows)
    seconds = (time.process_time() - begun) / count
    return WriterScore(
        name,
        split,
        count,
        checked / count,
        solved / count,
        round(tokens / count, 1),
        round(seconds, 2),
    )


def _halved(plan: WriterPlan) -> Path:
    """The folder of the adapter in float16, which is half as large and what is measured."""
    found = load_artifact(plan.scratch / "run" / "tuned", kind=KIND)
    small = {
        name: one.astype(np.float16) if one.dtype.kind == "f" else one
        for name, one in found.tensors.items()
    }
    folder = plan.scratch / "halved"
    save_artifact(
        folder / "tuned",
        kind=KIND,
        config=found.config,
        tensors=small,
        seed=found.seed,
        overwrite=True,
    )
    return folder


def _ship(
    plan: WriterPlan, training: Mapping[str, Any], scores: Sequence[WriterScore], adapter: Path
) -> None:
    """The result, and the adapter with its card."""
    size = sum(one.stat().st_size for one in (adapter / "tuned").iterdir())
    training = {**training, "bytes": size}
    figures: dict[str, float | int] = {"writer_bytes": size, "writer_rows": training["rows"]}
    for one in scores:
        figures |= {
            f"writer_{one.model}_{one.split}_solved": one.solved,
            f"writer_{one.model}_{one.split}_checked": one.checked,
        }
    write_result(
        NAME,
        protocol=" ".join((__doc__ or "").split("\n\n")[2].split()),
        data="tasks of made-up consoles, of django-oscar 4.2.1 and of SQLAdmin 0.32 over our store",
        seeds=[SEED],
        rows=[training, *(asdict(one) for one in scores)],
        figures=figures,
        folder=plan.results,
    )
    shutil.rmtree(plan.shipped, ignore_errors=True)
    shutil.copytree(adapter / "tuned", plan.shipped / "tuned")
    atomic_write_text(plan.shipped / "README.md", writer_card(training, scores))


if __name__ == "__main__":
    main()
