"""The five trainees of adwright, each in a short run on MovieLens 100k; part of same_weights.py
and kill_resume.py.

    python -m benchmarks.common._trainees OUT.json      # all five, a minute of one core

    ranker       fit: DIN on the ratings as a ranking task
    retrieval    fit_retriever: two towers on the ratings as visits
    sequential   fit_sequential: HSTU on the ratings as sequences
    tune         tune: LoRA in a small Llama, which says the genres of a film
    tune_jobs    tune_jobs: three such tunings over one base, all in each step

Every name of adwright is looked up by `_names`, so that one script trains with a checkout of
either layout: the one that PYTHONPATH names. The language model is a Llama of 100,000 weights that
reads bytes, built from a fixed seed, so nothing but the ratings is fetched.
"""

from __future__ import annotations

import hashlib
import json
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import fields
from functools import partial
from importlib import import_module
from inspect import signature
from pathlib import Path
from typing import Any

from benchmarks.common._names import NAMES, by_name

#: One person in this many is kept.
SHARE = 8
#: Called with the number of steps done, and with 0 when the training is about to begin.
OnStep = Callable[[int], None]
#: Tensors by name.
Weights = Mapping[str, Any]
#: The weights after training, of (what `prepare` wrote, folder of the run, resume it, on_step).
Trainee = Callable[[Path, Path, bool, OnStep], Weights]
#: Before the names of weights after the last step; the others are those that a run leaves behind,
#: which may be older, since validation chooses them. A run that was resumed after its last step
#: does not have them.
LAST = "last/"


def imported() -> None:
    """Import all that the trainees use, so that a forked process need not."""
    for key in NAMES:
        by_name(key)
    import_module("transformers.models.llama.modeling_llama")
    torch = import_module("torch")
    # Imports much on first use.
    torch.optim.Adam([torch.zeros(1, requires_grad=True)])


def prepare(data: Path) -> None:
    """Write what all trainees read to the folder `data`: the ratings of one person in SHARE."""
    data.mkdir(parents=True, exist_ok=True)
    for path in by_name("MovieLens").open().folder.glob("ml-100k.*"):
        text = path.read_text("utf-8")
        text = "".join(_kept(text)) if path.suffix == ".inter" else text
        (data / path.name).write_text(text, "utf-8")
    by_name("movielens_task")(_movielens(data), data / "cache")


def without_pictures() -> None:
    """Let runs draw no curves: that takes a process of its own a second, and decides nothing."""
    folder = by_name("RunFolder")
    if hasattr(folder, "draw"):
        folder.draw = lambda *_: None


def tensor_hashes(weights: Weights) -> dict[str, str]:
    """SHA-256 of each tensor's type, shape and bytes, by name."""
    found = {}
    for name in sorted(weights):
        array = weights[name].detach().cpu().contiguous().numpy()
        head = f"{array.dtype} {array.shape} ".encode()
        found[name] = hashlib.sha256(head + array.tobytes()).hexdigest()
    return found


def digest(hashes: Mapping[str, str]) -> str:
    """One SHA-256 for all tensors together, names included."""
    text = "".join(f"{name} {hashes[name]}\n" for name in sorted(hashes))
    return hashlib.sha256(text.encode()).hexdigest()


def ranker(data: Path, run: Path, resume: bool, on_step: OnStep) -> Weights:
    """DIN with Dice, attention, the regulariser by frequency, and negatives drawn anew."""
    import torch

    task = by_name("movielens_task")(_movielens(data), data / "cache")
    config = by_name("FitConfig")(
        epochs=2,
        learning_rate=5e-3,
        embedding_rule="adam",
        decay=0.01,
        validations_per_epoch=2,
        checkpoint_every=5,
        stream=by_name("StreamConfig")(
            groups_per_batch=8, rows_per_group=32, window=1, negative_rate=0.7, max_history=50
        ),
    )
    torch.manual_seed(int(resume))
    model = by_name("DIN")(
        by_name("DINConfig")(
            interest="attention",
            attention_activation="dice",
            attention_hidden=8,
            mlp_hidden=(16, 8),
            embedding=by_name("EmbeddingConfig")(width=4),
        ),
        task.spec,
        task.item_table,
    )
    watched = _Watched(on_step, model.state_dict)
    return watched(by_name("fit"), model, task, config, run, resume=resume)


def retrieval(data: Path, run: Path, resume: bool, on_step: OnStep) -> Weights:
    """Two towers with the second task on the items, whose views are drawn at random."""
    import polars as pl
    import torch

    source = _movielens(data)
    place = pl.int_range(pl.len()) / pl.len()
    split = pl.when(place < 0.8).then(pl.lit("train")).when(place < 0.9).then(pl.lit("valid"))
    events = source.events().sort("time", "event_id").collect()
    films = source.catalogue().items.with_columns(genre=pl.col("genres").list.first())
    task = by_name("build_visits")(
        events.select(
            "user_id", "request_id", "item_id", "time", split=split.otherwise(pl.lit("test"))
        ).with_columns(pl.col("split").first().over("user_id", "request_id")),
        films,
        name="movielens",
        protocol="MovieLens 100k, ratings of one second are a visit",
        data_hash="movielens",
        features=[f for f in by_name("MOVIELENS_FEATURES") if f.of == "item"],
    )
    torch.manual_seed(int(resume))
    config = by_name("TwoTowerConfig")(width=16, hidden=32, view_items=64)
    model = by_name("TwoTower")(config, task.spec, task.items, task.count)
    asked = by_name("RetrievalConfig")(epochs=2, batch=128, max_history=50, validation_visits=200)
    watched, train = _Watched(on_step, model.state_dict), by_name("fit_retriever")
    return watched(train, model, task, asked, run, resume=resume, checkpoint_every=5)


def sequential(
    data: Path, run: Path, resume: bool, on_step: OnStep, kernel: str = "bucketed"
) -> Weights:
    """HSTU with dropout, sampled lengths, weight decay and clipped gradients."""
    import polars as pl
    import torch

    events = _movielens(data).events().collect()
    table = events.sort("user_id", "time", "event_id").select(
        "user_id",
        "item_id",
        time=pl.col("time").dt.epoch("s"),
        action=pl.col("value").cast(pl.Int64),
    )
    people = by_name("sequences_of_table")(
        table, name="movielens", data_hash="movielens", actions=6
    )
    kind = by_name("SequentialConfig")
    # The setting of stochastic length under the name that this checkout has for it.
    names = {field.name for field in fields(kind)}
    length = "shortening" if "shortening" in names else "stochastic_length"
    config = kind(
        epochs=3,
        batch=8,
        learning_rate=0.01,
        weight_decay=0.01,
        clip_norm=1.0,
        schedule="linear",
        **{length: by_name("StochasticLength")(1.6)},
    )
    torch.manual_seed(int(resume))
    model = by_name("HSTU")(
        by_name("HSTUConfig")(width=16, max_length=50, qk_width=16, v_width=16, kernel=kernel),
        people.items,
        count=people.count,
    )
    watched, train = _Watched(on_step, model.state_dict), by_name("fit_sequential")
    return watched(train, model, people, config, run, resume=resume, checkpoint_every=5)


def tune(data: Path, run: Path, resume: bool, on_step: OnStep) -> Weights:
    """LoRA with dropout; validation decides which weights are kept."""
    method = by_name("LoRA")(rank=4, dropout=0.1)
    tuned = by_name("apply")(_llama(), method, seed=0)
    for parameter in tuned.parameters():
        # A resumed run has to take its weights from the checkpoint.
        parameter.data.add_(float(resume))
    texts, valid = _texts(data, 0, 160), _texts(data, 1, 40)
    watched, train = _Watched(on_step, tuned.state), by_name("tune")
    return watched(train, tuned, texts, _tuning(), run, valid=valid, resume=resume)


def tune_jobs(data: Path, run: Path, resume: bool, on_step: OnStep) -> Weights:
    """Three jobs that differ in method, rate, batch and end."""
    job, lora, fa = by_name("Job"), by_name("LoRA"), by_name("LoRAFA")
    texts = [_texts(data, part, 64) for part in range(4)]
    small = partial(_tuning, epochs=2, batch=4, micro=2)
    jobs = [
        job("a", lora(rank=4, rate_ratio=4.0), texts[0], small(), texts[3]),
        job("b", lora(rank=2, dropout=0.3), texts[1], small(seed=1, clip_norm=0.0)),
        job("c", fa(rank=3), texts[2], small(steps=20, learning_rate=0.02, seed=2)),
    ]
    # The jobs' weights are in their folders, and those of b and c are the last ones.
    watched = _Watched(on_step, dict)
    watched(by_name("tune_jobs"), _llama(), jobs, run, resume=resume)
    return {
        f"{one.name}/{name}": value
        for one in jobs
        for name, value in by_name("load_tuned")(_llama(), run / one.name / "tuned").state().items()
    }


TRAINEES: dict[str, Trainee] = {
    "ranker": ranker,
    "retrieval": retrieval,
    "sequential": sequential,
    "tune": tune,
    "tune_jobs": tune_jobs,
}
#: Further runs of them, by other code.
VARIANTS: dict[str, Trainee] = {"sequential_fused": partial(sequential, kernel="fused")}


class _Watched:
    """A training that calls `on_step`, whatever it calls that argument, and of which the weights
    after the last step are known as well as those that it leaves behind.

    weights: gives the weights as they are, by name."""

    def __init__(self, on_step: OnStep, weights: Callable[[], Weights]) -> None:
        self.on_step, self.weights = on_step, weights
        self.last: dict[str, Any] = {}

    def __call__(self, train: Callable[..., Any], *arguments: Any, **settings: Any) -> Weights:
        """Train; the weights, and after the last step those of it under "last/NAME"."""
        names = signature(train).parameters
        settings["on_batch" if "on_batch" in names else "on_step"] = self._stepped
        self.on_step(0)
        train(*arguments, **settings)
        return dict(self.weights()) | {f"{LAST}{name}": one for name, one in self.last.items()}

    def _stepped(self, steps: int) -> None:
        self.last = {name: one.detach().clone() for name, one in self.weights().items()}
        self.on_step(steps)


def _movielens(data: Path) -> Any:
    """The ratings that `prepare` wrote."""
    return by_name("MovieLens")(data)


def _kept(text: str) -> Iterator[str]:
    """The head of a file of ratings, and the lines of one person in SHARE."""
    head, *lines = text.splitlines(keepends=True)
    yield head
    yield from (line for line in lines if int(line.split("\t", 1)[0]) % SHARE == 0)


def _texts(data: Path, part: int, count: int) -> Any:
    """`count` films, every fourth from `part` on: the title asks, the genres answer, as bytes."""
    items = _movielens(data).catalogue().items.drop_nulls("title")
    chosen = items.sort("item_id")[part::4].head(count)
    texts = [
        (f"{title}: ", ", ".join(genres)) for title, genres in chosen["title", "genres"].rows()
    ]
    # 0 ends a text; other bytes stand for themselves.
    return by_name("Texts")(
        tuple(tuple(said.encode()) for said, _ in texts),
        tuple((*answer.encode(), 0) for _, answer in texts),
    )


def _tuning(**changes: Any) -> Any:
    usual = {"batch": 8, "micro": 4, "learning_rate": 0.01, "weight_decay": 0.01, "epochs": 3}
    return by_name("TuneConfig")(**usual | {"checkpoint_every": 5, "validate_every": 10} | changes)


def _llama() -> Any:
    """The base: the same numbers in every process."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=256,
            hidden_size=48,
            intermediate_size=96,
            num_hidden_layers=3,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=256,
            initializer_range=0.15,
        )
        model: Any = LlamaForCausalLM(config)
        return model.eval()


def main(out: Path) -> None:
    """Train all, and write what came out: {trainee: {tensor: sha256}}."""
    import torch

    torch.set_num_threads(1)
    without_pictures()
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        prepare(data)
        for name, trainee in (TRAINEES | VARIANTS).items():
            weights = trainee(data, Path(folder) / name, False, lambda *_: None)
            found[name] = tensor_hashes(weights)
    out.write_text(json.dumps(found, indent=1) + "\n", "utf-8")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
