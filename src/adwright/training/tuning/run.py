"""run_tuning(): from a file of prompts and answers to a tuned part that is saved and measured.

    OUT/
      run/          the resumable training: checkpoint, metrics.jsonl
      run-pruned/   the second one, of methods whose first leaves numbers to be trained again
      tuned/        what was tuned, beside no base: an artifact of kind "lm-tuned"
      report.json   what was trained, for how long, and what it is worth on held texts

Texts are held by groups, not by rows, where the file says which rows belong together: titles of
one product in training and in validation would make any method look good. Methods that look at
data first are shown the texts to train on, each once, in an order drawn by the run's seed.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import BeforeValidator

from adwright.core.atomic import atomic_write_text
from adwright.core.config import check_literals, to_jsonable
from adwright.core.errors import ConfigError, DataError, MissingExtraError
from adwright.core.hashing import content_hash
from adwright.lm.engine.weights import SMOLLM2, locate
from adwright.lm.torch_engine.model import fitting_dtype
from adwright.training.loop.distributed import on_first, process_group
from adwright.training.loop.run_folder import RunFolder
from adwright.training.tuning.quantise import (
    Quantise,
    beside_base,
    load_four_bit,
    require_four_bit,
)
from adwright.training.tuning.texts import Texts, read_rows
from adwright.training.tuning.tune import (
    TuneConfig,
    TuneResult,
    answer_loss_of,
    answer_nll,
    as_in_first,
    tune,
)
from adwright.tuning.methods import Method, apply, method_of
from adwright.tuning.reparameterised.lora import LoRA
from adwright.tuning.tuned import Losses, Tuned

__all__ = ["PairsConfig", "TuneRun", "TuningReport", "held_apart", "run_tuning"]

#: Folders of the first training and of the second.
_RUN, _AGAIN = "run", "run-pruned"


def _read_method(values: object) -> object:
    return method_of(values) if isinstance(values, Mapping) else values


@dataclass(frozen=True)
class PairsConfig:
    """Where the texts are.

    path: JSON lines with the fields `prompt` and `answer`. group: a field whose values are held
    together, empty for each row by itself. valid: share of the groups that validates, 0 for none.
    max_length: tokens of a text. system: said before each.
    """

    path: Path
    prompt: str = "prompt"
    answer: str = "answer"
    group: str = ""
    valid: float = 0.1
    max_length: int = 384
    system: str = ""

    def __post_init__(self) -> None:
        if not 0 <= self.valid < 1 or self.max_length < 8:
            raise ConfigError(
                "valid is a share below 1, max_length at least 8",
                where=f"{self.valid}, {self.max_length}",
            )


@dataclass(frozen=True)
class TuneRun:
    """A tuning. model: the base, as `adwright lm generate --model` takes it. sources: folders of
    tuned parts, for methods that build on others. quantise: nf4 for a base in four bits, which
    needs CUDA and bitsandbytes, see `tune_quantise`."""

    data: PairsConfig
    method: Annotated[Method, BeforeValidator(_read_method)] = field(default_factory=LoRA)
    model: str = SMOLLM2
    sources: tuple[Path, ...] = ()
    tune: TuneConfig = field(default_factory=TuneConfig)
    quantise: Quantise = ""
    seed: int = 0
    out: Path = Path("runs/tuned")

    def __post_init__(self) -> None:
        check_literals(self)


@dataclass(frozen=True)
class TuningReport:
    """What a tuning was and what it is worth. base: note on the model. trainable: numbers.
    steps, tokens, cpu_seconds: of the training, or of both. valid_nll, base_nll: nats a token of
    the held answers, with and without the method; None without held texts. tokens_per_cpu_second:
    of training. peak_bytes: of the process."""

    method: str
    settings: Mapping[str, Any]
    base: str
    trainable: int
    share: float
    steps: int
    tokens: int
    cpu_seconds: float
    tokens_per_cpu_second: float
    peak_bytes: int
    texts: int
    held: int
    cut: int
    base_nll: float | None
    valid_nll: float | None
    data_hash: str


def run_tuning(asked: TuneRun, *, resume: bool = False, overwrite: bool = False) -> TuningReport:
    """Tune, save and measure; tune again what the method leaves then (`TuningMethod.then`).

    resume: continue the run in `asked.out`. overwrite: replace a tuned part that is there. Under
    torchrun all processes call it, and the first one writes.
    Raises MissingExtraError without transformers, and as `require_four_bit`, `read_rows`, `apply`
    and `tune`.
    """
    with process_group():
        return _run(asked, resume=resume, overwrite=overwrite)


def _run(asked: TuneRun, *, resume: bool, overwrite: bool) -> TuningReport:
    if not resume:
        for name in (_RUN, _AGAIN):
            RunFolder(asked.out / name, {}, "").require_new()
    model, tokenizer, note = _opened(asked)
    train, valid = held_apart(asked.data, tokenizer, asked.seed)
    config = replace(
        asked.tune, seed=asked.seed, bfloat16=asked.tune.bfloat16 or _in_bfloat16(asked.method)
    )
    losses = _shown(train, asked.seed)
    tuned = apply(model, asked.method, seed=asked.seed, losses=losses, sources=asked.sources)
    if asked.quantise:
        beside_base(tuned)
    before = None
    if len(valid) and tuned.method.exact_start and not resume:
        before = answer_nll(tuned, valid, bfloat16=config.bfloat16)
    held = valid if len(valid) else None
    result = _trained(tuned, train, config, asked.out, valid=held, resume=resume)
    report = TuningReport(
        method=type(asked.method).__name__,
        settings=to_jsonable(asked.method),
        base=note or asked.model,
        trainable=tuned.count(),
        share=tuned.count() / tuned.sizes.parameters,
        steps=result.steps,
        tokens=result.tokens,
        cpu_seconds=round(result.seconds, 2),
        tokens_per_cpu_second=round(result.tokens / max(result.seconds, 1e-9), 1),
        peak_bytes=_peak_bytes(),
        texts=len(train),
        held=len(valid),
        cut=train.cut + valid.cut,
        base_nll=before,
        valid_nll=None if held is None else result.best,
        data_hash=content_hash([train.data_hash, valid.data_hash]),
    )

    def write() -> None:
        tuned.save(asked.out / "tuned", overwrite=overwrite)
        text = json.dumps(to_jsonable(report), indent=1) + "\n"
        atomic_write_text(asked.out / "report.json", text)

    on_first(write)
    return report


def _shown(train: Texts, seed: int) -> Losses:
    """The loss of each text, one after another, in an order drawn by `seed`."""
    order = np.random.default_rng(seed).permutation(len(train)).tolist()
    return lambda tuned: (answer_loss_of(tuned, train.packed([row])) for row in order)


def _trained(
    tuned: Tuned, train: Texts, config: TuneConfig, out: Path, *, valid: Texts | None, resume: bool
) -> TuneResult:
    """One training, or two of which the second counts; steps, tokens and seconds are of both."""
    first = tune(tuned, train, config, out / _RUN, valid=valid, resume=resume)
    # What the method does then may turn on the last bit, and is to be the same in all processes.
    as_in_first(tuned)
    if not tuned.method.then(tuned):
        return first
    # The base is whole in each process by now, and is not divided twice.
    config, again = replace(config, shard=False), out / _AGAIN
    begun = resume and (again / "config.json").exists()
    second = tune(tuned, train, config, again, valid=valid, resume=begun)
    return replace(
        second,
        steps=first.steps + second.steps,
        tokens=first.tokens + second.tokens,
        seconds=first.seconds + second.seconds,
    )


def _opened(asked: TuneRun) -> tuple[Any, Any, str]:
    """The base in the type that fits, its tokenizer, and the note on its figures."""
    try:
        from transformers import AutoModelForCausalLM, AutoTokenizer
    except ImportError as error:
        raise MissingExtraError("tuning of language models", "lm") from error
    if asked.quantise:
        require_four_bit(asked.method)
    place, note = locate(asked.model)
    tokenizer = AutoTokenizer.from_pretrained(place)
    if asked.quantise:
        return load_four_bit(str(place)), tokenizer, note
    # What moves by small steps has to be in float32.
    dtype = torch.float32 if asked.method.trains_base else fitting_dtype()
    return AutoModelForCausalLM.from_pretrained(place, dtype=dtype), tokenizer, note


def _in_bfloat16(method: Method) -> bool:
    return fitting_dtype() == torch.bfloat16 and method.mixed_precision


def held_apart(data: PairsConfig, tokenizer: Any, seed: int) -> tuple[Texts, Texts]:
    """Texts to train on and to validate with, groups drawn by `seed`.

    Raises DataError where there are none, ConfigError where all are held, and as `read_rows`.
    """
    fields = (data.prompt, data.answer, *((data.group,) if data.group else ()))
    rows = read_rows(data.path, fields)
    if not rows:
        raise DataError("there are no texts", file=str(data.path), hint="write one object a line")
    groups = [row[2] if data.group else str(number) for number, row in enumerate(rows)]
    names, of = np.unique(groups, return_inverse=True)
    drawn = np.random.default_rng(seed).permutation(len(names))
    held = np.isin(of, drawn[: round(data.valid * len(names))])
    if held.all():
        raise ConfigError(
            "all texts are held for validation",
            where=f"valid = {data.valid}, {len(names)} groups",
            hint="lower valid, or give more groups",
        )
    train, valid = (
        Texts.of(
            [rows[row][:2] for row in np.flatnonzero(mask)],
            tokenizer,
            max_length=data.max_length,
            system=data.system,
        )
        for mask in (~held, held)
    )
    return train, valid


def _peak_bytes() -> int:
    # Linux counts in kibibytes, macOS in bytes.
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
