"""The writer that SEED tunes: what a run needs of it, and one on SmolLM2 or any other local model.

    writer = TunedWriter("smollm2-135m-instruct")
    writer.tune(rows, Path("round-0"), seed=0)            # leaves round-0/tuned
    with writer.opened(Path("round-0")) as model:         # a LanguageModel
        model.generate([brief.messages()])

Each round tunes the base anew on all rows of the round, as ReST-EM does (Singh et al., TMLR 2024),
rather than going on from the adapter of the round before: so no round inherits what an earlier one
overfitted. The loss is over the answers alone.

Several ads for each brief, written batch by batch into a file, so that a killed run goes on.

    path = folder / "samples.jsonl"
    written = write_ads(briefs, opened, config, path, samples=6, seed=7)

All samples of a brief stand in one call, so that an engine that shares beginnings reads the brief
once. Sample s of brief b draws from `seed + b * samples + s`: a run that was killed and goes on
asks for the same batches with the same seeds.

The files of a run, each whole or not at all, so that a process may be killed anywhere.

    OUT/
      seed.json            what the run was asked for, and hashes of its data
      read.json            what the writer reads, for filters; brands
      pool.jsonl           the own judge's view of the ads without a score
      round-0/             the seed model; round-1/ and so on the same, with what was written first
        samples.jsonl      what the writer of the round before wrote, a line a brief
        scores.json        reasons of the filters and scores of the own judge
        kept.json          which of them are tuned on
        writer/            the tuning: rows, run, adapter, report
        watch.jsonl        what the new writer writes for the watched briefs
        round.json         what both judges say of that; the round is done
      held-before-0.jsonl, held-after-N.jsonl  what is written for the held-out briefs at the end
      held-before.json, held-after.json        what both judges say of that
      costs.jsonl          what each step took
      report.json, report.html

A file of lines grows by whole batches, see `adwright.core.journal`.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from adwright.core.atomic import atomic_write_text
from adwright.core.config import Count, settings
from adwright.core.errors import DataError, MissingExtraError, ResumeError
from adwright.core.journal import append_rows, read_rows, write_rows
from adwright.core.progress import progress
from adwright.creative.seed.texts import AdBrief, SeedConfig
from adwright.lm.engine.generation import LanguageModel, Message, Usage
from adwright.lm.engine.weights import SMOLLM2
from adwright.lm.open_model import LmSpec, open_lm

if TYPE_CHECKING:
    from adwright.training.tuning.run import TuneRun


#: What to do about a file of a run that cannot be read.
DAMAGED = "remove its round, and give the same command again"


def write_json(path: Path, value: object) -> None:
    """Write a value as JSON. Raises ResourceError where the disk is full."""
    text = json.dumps(value, indent=1, ensure_ascii=False, allow_nan=False)
    atomic_write_text(path, text + "\n")


def read_json(path: Path) -> Any:
    """The value in a file; None where there is none. Raises ResumeError where it is no JSON."""
    try:
        return json.loads(path.read_text("utf-8"))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ResumeError(
            f"a file of the run cannot be read: {error}", where=str(path), hint=DAMAGED
        ) from error


_ROWS, _REPORT = "rows.jsonl", "report.json"


@dataclass(frozen=True)
class WriterRow:
    """What a writer is tuned on: turns, and the answer to learn. group: rows that are held out
    together for the loss that is shown. source: where it is from, for readers."""

    messages: tuple[Message, ...]
    answer: str
    group: str = ""
    source: str = ""

    def line(self) -> str:
        """As a line of JSON that the tuning reads."""
        turns = [{"role": one.role, "content": one.content} for one in self.messages]
        turns.append({"role": "assistant", "content": self.answer})
        told = {"messages": turns, "group": self.group or self.answer, "source": self.source}
        return json.dumps(told, ensure_ascii=False) + "\n"


@dataclass(frozen=True)
class TuneCost:
    """What a tuning took. tokens: that were read in training. loss: of the rows that were held out,
    in nats a token; None without any. before: the same of the untuned base."""

    tokens: int
    cpu_seconds: float
    loss: float | None = None
    before: float | None = None


@settings
class TunedWriter:
    """A local model under a method of `tuning`, written with by the engine that serves adapters.

    model: as `adwright tune run --model` takes it. method, settings: as `adwright tune methods`
    names them; LoRA of rank 16 by default. epochs, rate, batch, tokens: of a tuning; tokens of a
    row. valid: share of the groups of rows whose loss is shown. checkpoint_every: steps. rows: that
    are written together. threads: 0 takes what fits. device: as torch names it.

    Raises ConfigError for an unknown method or setting, and numbers out of range.
    """

    model: str = SMOLLM2
    method: str = "LoRA"
    settings: Mapping[str, Any] = field(
        default_factory=lambda: {"rank": 16, "alpha": 32.0, "dropout": 0.05}
    )
    epochs: int = 1
    rate: float | None = 5e-4
    batch: int = 8
    tokens: int = 384
    valid: float = 0.05
    checkpoint_every: int = 25
    rows: Count = 64
    threads: int = 0
    device: str = "cpu"
    offline: bool = False

    @property
    def name(self) -> str:
        """The model, the method, and how it is tuned."""
        named = {**self.settings, "epochs": self.epochs, "batch": self.batch}
        if self.rate is not None:
            named["rate"] = self.rate
        told = ", ".join(f"{key} {value}" for key, value in sorted(named.items()))
        return f"{self.model}, {self.method} ({told})"

    def tune(self, rows: Sequence[WriterRow], folder: Path, *, seed: int) -> TuneCost:
        """Tune on rows and keep the result in `folder`; go on where an earlier call was killed, and
        do nothing where it had ended. Raises DataError without rows, and as `run_tuning`."""
        if not rows:
            raise DataError("there are no rows to tune on", hint="keep more, or add ads")
        if (folder / _REPORT).is_file():
            return _ended(folder)
        text = "".join(row.line() for row in rows)
        file = folder / _ROWS
        if not (file.is_file() and file.read_text("utf-8") == text):
            atomic_write_text(file, text)
        asked = self.tuning(folder, seed=seed)
        from adwright.lm.torch_engine.model import give_back
        from adwright.training.tuning.run import run_tuning

        begun = (folder / "run" / "config.json").is_file()
        run_tuning(asked, resume=begun)
        # The base and its activations: the next round needs as much again.
        give_back()
        return _ended(folder)

    def tuning(self, folder: Path, *, seed: int) -> TuneRun:
        """The tuning of the rows in `folder`, as `run_tuning` takes it."""
        try:
            from adwright.training.tuning.run import TuneRun
            from adwright.training.tuning.texts import PairsConfig
            from adwright.training.tuning.tune import TuneConfig
            from adwright.tuning.methods import method_of
        except ImportError as error:
            raise MissingExtraError("tuning a writer", "lm") from error
        return TuneRun(
            data=PairsConfig(
                folder / _ROWS, group="group", valid=self.valid, max_length=self.tokens
            ),
            method=method_of({**self.settings, "kind": self.method}),
            model=self.model,
            tune=TuneConfig(
                epochs=self.epochs,
                batch=self.batch,
                micro=self.batch,
                learning_rate=self.rate,
                checkpoint_every=self.checkpoint_every,
            ),
            seed=seed,
            out=folder,
            device=self.device,
        )

    @contextmanager
    def opened(self, folder: Path) -> Iterator[LanguageModel]:
        """The writer that `tune` left in `folder`. Raises AssetError and ArtifactError where there
        is none."""
        spec = LmSpec(
            self.model,
            "paged",
            str(folder),
            concurrency=self.rows,
            threads=self.threads,
            device=self.device,
            offline=self.offline,
        )
        with closing(open_lm(spec)) as model:
            yield model


def _ended(folder: Path) -> TuneCost:
    """What the report of a tuning that ended says. Its checkpoints, three times as large as the
    adapter, go."""
    for checkpoint in (folder / "run").glob("checkpoint-*"):
        shutil.rmtree(checkpoint, ignore_errors=True)
    told = json.loads((folder / _REPORT).read_text("utf-8"))
    return TuneCost(told["tokens"], told["cpu_seconds"], told["valid_nll"], told["base_nll"])


@dataclass(frozen=True)
class WrittenAds:
    """What was written for one brief. cut: whether the tokens of a sample ran out."""

    brief: AdBrief
    texts: tuple[str, ...]
    cut: tuple[bool, ...]


def write_ads(
    briefs: Sequence[AdBrief],
    opened: Callable[[], AbstractContextManager[LanguageModel]],
    config: SeedConfig,
    path: Path,
    *,
    samples: int,
    seed: int,
    label: str = "write",
    told: Callable[[Usage], None] = lambda usage: None,
    spent: Callable[[], bool] = lambda: False,
) -> tuple[WrittenAds, ...] | None:
    """Write what the file lacks; None where the budget was spent before its end.

    opened: the writer, opened only where something is missing. told: tokens of each call. spent:
    asked before each. Raises as the model does, and ResumeError where the file is of other briefs.
    """
    found = read_rows(path, dict, hint=DAMAGED)
    done = _whole(found, briefs, config.batch, path)
    if done < len(found):
        write_rows(path, found[:done])
    if done < len(briefs):
        with progress(len(briefs) - done, label, "briefs") as bar, opened() as model:
            while done < len(briefs):
                if spent():
                    return None
                some = briefs[done : done + config.batch]
                rows, usage = _batch(model, some, config, samples, seed + done * samples)
                append_rows(path, rows)
                told(usage)
                done += len(some)
                bar.advance(len(some))
    return tuple(
        WrittenAds(brief, tuple(row["texts"]), tuple(row["cut"]))
        for brief, row in zip(briefs, read_rows(path, dict), strict=True)
    )


def _whole(
    found: Sequence[dict[str, Any]], briefs: Sequence[AdBrief], batch: int, path: Path
) -> int:
    """How many lines are of whole batches. Raises ResumeError where they are of other briefs."""
    for row, brief in zip(found, briefs, strict=False):
        if row.get("brief") != brief.id:
            raise ResumeError(
                "what was written is of other briefs",
                where=f"{path}: {row.get('brief')!r} where {brief.id!r} is due",
                hint="name another folder, or remove this round",
            )
    if len(found) >= len(briefs):
        return len(briefs)
    return len(found) // batch * batch


def _batch(
    model: LanguageModel, briefs: Sequence[AdBrief], config: SeedConfig, samples: int, seed: int
) -> tuple[list[dict[str, Any]], Usage]:
    prompts = [brief.messages() for brief in briefs for _ in range(samples)]
    answers = model.generate(prompts, replace(config.generation(seed)))
    rows = []
    for at, brief in enumerate(briefs):
        mine = [answers[at * samples + one] for one in range(samples)]
        cut = [one.finish_reason == "length" for one in mine]
        rows.append({"brief": brief.id, "texts": [one.text for one in mine], "cut": cut})
    return rows, answers.usage
