"""One model for all tasks of authoring: a language model tuned on instruction data.

    recipe = AuthoringRecipe(Path("rows"), out=Path("runs/author"))
    report = tune_author(recipe)            # runs/author/tuned is then the adapter

The rows are those of `build_instructions`; the training is that of `adwright tune run`, with any
method of `tuning`, so that it is resumed, measured, served and merged as all others are. The loss
is over the answers alone, and some product clusters are held out to choose by. For one model per
task, name the task.

Profiles, with LoRA on all linear maps unless another method is named (the first four columns are
the method's):

    profile             rank  alpha  dropout  rate   batch  epochs  tokens  model
    smollm2-135m-cpu      16     32     0.05  5e-4       8       1     384  SmolLM2-135M-Instruct
    7b-gpu                16     16     0.10  1e-4     128       3    1024  Llama 2 7B, four bits
    13b-gpu               16     16     0.10  1e-4     128       3    1024  Llama 2 13B, four bits
    30b-gpu               16     16     0.10  1e-4     128       3    1024  LLaMA 30B, four bits

All have a cosine after a warm-up of 5 % of the steps. The first is ours, for one processor. The
others take their numbers, but the tokens of a row, from the published fine-tuning script of eCeLLM,
since LLaMA-E does not publish its own, and are configurations only: we have not run them. Their
models have licences of their own, and any other can be named in their place.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from adwright.authoring.tasks import task_named
from adwright.core.atomic import atomic_write_text
from adwright.core.config import settings, to_jsonable
from adwright.core.errors import DataError
from adwright.core.hashing import sha256_file

if TYPE_CHECKING:
    from adwright.training.tuning.run import TuneRun, TuningReport

Profile = Literal["smollm2-135m-cpu", "7b-gpu", "13b-gpu", "30b-gpu"]

_TRAIN = "train.jsonl"
_ROWS = "rows.jsonl"
#: The field of a row whose values are held out together.
_GROUP = "group"
_WARMUP = 0.05


@dataclass(frozen=True)
class ProfileSettings:
    """What suits a size of model on a kind of machine. micro: rows of one forward pass. device,
    four_bits, checkpoint_layers: as `adwright tune run` has them. tokens: of one row."""

    model: str
    rank: int = 16
    alpha: float = 16.0
    dropout: float = 0.1
    rate: float = 1e-4
    batch: int = 128
    micro: int = 4
    epochs: int = 3
    tokens: int = 1024
    device: str = "cuda"
    four_bits: bool = True
    checkpoint_layers: bool = True


PROFILES: Mapping[Profile, ProfileSettings] = {
    "smollm2-135m-cpu": ProfileSettings(
        "smollm2-135m-instruct",
        alpha=32.0,
        dropout=0.05,
        rate=5e-4,
        batch=8,
        micro=8,
        epochs=1,
        tokens=384,
        device="cpu",
        four_bits=False,
        checkpoint_layers=False,
    ),
    "7b-gpu": ProfileSettings("meta-llama/Llama-2-7b-hf", micro=8),
    "13b-gpu": ProfileSettings("meta-llama/Llama-2-13b-hf", micro=4),
    "30b-gpu": ProfileSettings("huggyllama/llama-30b", micro=1),
}


@settings
class AuthoringRecipe:
    """What is tuned on what.

    data: a folder of `build_instructions`, of which train.jsonl is read, or a file of rows. tasks:
    only rows of these; empty for all. model: in the place of the profile's. method: as `adwright
    tune methods` names it; LoRA with the profile's settings where it is empty. settings: of the
    method. epochs, steps, rate, batch, tokens: None for the profile's; steps count instead of
    epochs. valid: share of the product clusters that is held out to choose by. device: None for the
    profile's.

    Raises ConfigError for an unknown task, method or setting.
    """

    data: Path
    profile: Profile = "smollm2-135m-cpu"
    tasks: tuple[str, ...] = ()
    model: str = ""
    method: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    epochs: int | None = None
    steps: int = 0
    rate: float | None = None
    batch: int | None = None
    tokens: int | None = None
    valid: float = 0.05
    device: str | None = None
    seed: int = 0
    out: Path = Path("runs/author")

    def __post_init__(self) -> None:
        for name in self.tasks:
            task_named(name)


def tune_run_of(recipe: AuthoringRecipe) -> TuneRun:
    """The tuning that a recipe stands for, as `run_tuning` takes it.

    Raises ConfigError for an unknown method or setting, and numbers out of range.
    """
    from adwright.training.tuning.run import TuneRun
    from adwright.training.tuning.texts import PairsConfig
    from adwright.training.tuning.tune import TuneConfig
    from adwright.tuning.methods import method_of

    own = PROFILES[recipe.profile]
    lora = {"rank": own.rank, "alpha": own.alpha, "dropout": own.dropout}
    named = recipe.method or "LoRA"
    # The rate of a profile is LoRA's; other methods have one of their own that suits them.
    rate = own.rate if named.casefold() == "lora" else None
    batch = own.batch if recipe.batch is None else recipe.batch
    return TuneRun(
        data=PairsConfig(
            _rows_file(recipe),
            group=_GROUP,
            valid=recipe.valid,
            max_length=own.tokens if recipe.tokens is None else recipe.tokens,
        ),
        method=method_of({**({} if recipe.method else lora), **recipe.settings, "kind": named}),
        model=recipe.model or own.model,
        tune=TuneConfig(
            epochs=own.epochs if recipe.epochs is None else recipe.epochs,
            steps=recipe.steps,
            batch=batch,
            micro=min(own.micro, batch),
            learning_rate=rate if recipe.rate is None else recipe.rate,
            warmup=_WARMUP,
            checkpoint_layers=own.checkpoint_layers,
        ),
        quantise="nf4" if own.four_bits else "",
        device=own.device if recipe.device is None else recipe.device,
        seed=recipe.seed,
        out=recipe.out,
    )


def tune_author(
    recipe: AuthoringRecipe, *, resume: bool = False, overwrite: bool = False
) -> TuningReport:
    """Tune as the recipe says; `recipe.out` then holds what `run_tuning` writes, the rows that were
    read where they are a part of the data, and `authoring.json`, which names recipe and data.

    resume: continue a run that was interrupted. overwrite: replace one that is there.
    Raises DataError where the data have no row of the tasks, and as `run_tuning`.
    """
    from adwright.training.tuning.run import run_tuning

    asked = tune_run_of(recipe)
    source, rows = _source(recipe), _rows_file(recipe)
    lines = list(_lines(source, recipe.tasks))
    if not lines:
        raise DataError(
            "there are no rows to tune on",
            file=str(source),
            hint=f"it has none of {', '.join(recipe.tasks)}" if recipe.tasks else "it is empty",
        )
    if rows != source:
        atomic_write_text(rows, "".join(lines))
    report = run_tuning(asked, resume=resume, overwrite=overwrite)
    told = {
        "recipe": to_jsonable(recipe),
        "data": sha256_file(source),
        "rows": len(lines),
        "tasks": list(recipe.tasks) or "all",
    }
    atomic_write_text(recipe.out / "authoring.json", json.dumps(told, indent=1) + "\n")
    return report


def _source(recipe: AuthoringRecipe) -> Path:
    data = recipe.data
    return data / _TRAIN if data.is_dir() else data


def _rows_file(recipe: AuthoringRecipe) -> Path:
    """The file that is tuned on: of some tasks, a file of its own beside the run."""
    return recipe.out / _ROWS if recipe.tasks else _source(recipe)


def _lines(source: Path, tasks: tuple[str, ...]) -> Iterator[str]:
    """The lines of these tasks, each with its end."""
    try:
        with source.open(encoding="utf-8") as stream:
            for number, line in enumerate(stream):
                if not line.strip():
                    continue
                if not tasks or _task_of(line, source, number) in tasks:
                    yield line if line.endswith("\n") else f"{line}\n"
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            f"the rows cannot be read: {error}",
            file=str(source),
            hint="name a folder that `adwright author data` wrote",
        ) from error


def _task_of(line: str, source: Path, number: int) -> str:
    try:
        return str(json.loads(line)["task"])
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(
            "a line is no row of instruction data",
            file=str(source),
            row=number,
            hint="name a file that `adwright author data` wrote",
        ) from error
