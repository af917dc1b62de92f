"""Short forms of four benchmarks, each measured in CPU-seconds of its process; part of
same_speed.py.

    OMP_NUM_THREADS=1 python -m benchmarks.common._speeds hstu_speed CACHE OUT.json

    din          DIN on the response task, 2% of the households: training, scoring, group AUC
    hstu_speed   the fused stack of HSTU over 2,048 tokens, and M-FALCON with 1,024 candidates
    cascade      requests to an untrained cascade over all items of Complete Journey
    adapters     tune, tune_jobs and decoding with eight LoRAs, on a small Llama

What is imported, read, built and compiled is not timed: each part first does once what it then
measures, and tasks are kept in the folder CACHE. Every name of adwright is looked up by `_names`,
so that one script measures a checkout of either layout: the one that PYTHONPATH names.
"""

from __future__ import annotations

import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from inspect import signature
from itertools import pairwise
from pathlib import Path
from typing import Any

from benchmarks.common._names import by_name
from benchmarks.common._trainees import without_pictures

#: Values by name; the end of a name says the unit: per_cpu_second, cpu_ms, or gauc.
Measured = dict[str, float]

#: Share of the households of Complete Journey.
HOUSEHOLDS = 0.02
#: Steps of a training before the clock starts.
WARM = 5
#: Tokens of the stack's sequence; M-FALCON's events, candidates and items.
LENGTH, EVENTS, CANDIDATES, ITEMS = 2048, 512, 1024, 28_000
#: Requests to the cascade.
REQUESTS = 200
#: Tokens of the small Llama's vocabulary: the bytes, and two that no text has.
VOCABULARY = 258
#: LoRAs and rows of the served batch, tokens of each prompt and answer.
ADAPTERS, ROWS, PROMPT, ANSWER = 8, 32, 32, 65


def din(scratch: Path, cache: Path) -> Measured:
    """Rows per CPU-second of training and of scoring, and the validation's group AUC."""
    import torch

    config = by_name("ResponseConfig")(households=HOUSEHOLDS)
    task = by_name("build_response_task")(by_name("CompleteJourney").open(), cache, config)
    stream = by_name("StreamConfig")(
        groups_per_batch=16, rows_per_group=64, window=8, negative_rate=0.05
    )
    torch.manual_seed(0)
    model = by_name("DIN")(by_name("DINConfig")(), task.spec, task.item_table)
    rows, loss = [0], model.loss

    def counted(batch: Any) -> Any:
        rows[0] += len(batch.label)
        return loss(batch)

    model.loss = counted
    ends: list[tuple[float, int]] = []
    fit = by_name("fit")
    on_step = "on_batch" if "on_batch" in signature(fit).parameters else "on_step"
    found = fit(
        model,
        task,
        by_name("FitConfig")(epochs=1, learning_rate=0.006, stream=stream),
        scratch / "run",
        **{on_step: lambda _: ends.append((time.process_time(), rows[0]))},
    )
    (began, before), (ended, after) = ends[WARM], ends[-1]
    start = time.process_time()
    scored = by_name("predict")(model, task, "test")
    return {
        "train_rows_per_cpu_second": (after - before) / (ended - began),
        "score_rows_per_cpu_second": len(scored.label) / (time.process_time() - start),
        "valid_gauc": found.gauc,
    }


def hstu_speed(_: Path, __: Path) -> Measured:
    """CPU-milliseconds of the stack, forward and backward, and of M-FALCON with a kept history."""
    import torch

    width, heads = 64, 4
    torch.manual_seed(0)
    config = by_name("HSTUConfig")(
        width=width,
        max_length=LENGTH,
        blocks=2,
        heads=heads,
        qk_width=width // heads,
        v_width=width // heads,
        dropout=0.0,
        kernel="fused",
        recompute=True,
    )
    stack = by_name("HSTUStack")(config, LENGTH)
    event = torch.arange(LENGTH)

    def both_ways(bfloat16: bool) -> None:
        x = torch.randn(LENGTH, width, requires_grad=True)
        tokens = by_name("SequenceTokens")(
            x, torch.tensor([0, LENGTH]), 0, event, event * 3600, event * 3600 + 600
        )
        with torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
            after = stack(tokens)
        torch.autograd.backward(after.x.float().square().mean())

    found = {"stack_float32_cpu_ms": _least_ms(lambda: both_ways(False), 9)}
    if _has_bfloat16():
        found["stack_bfloat16_cpu_ms"] = _least_ms(lambda: both_ways(True), 9)
    return found | {"falcon_1024_cpu_ms": _least_ms(_falcon(), 12)}


def _falcon() -> Callable[[], object]:
    """One call of M-FALCON for a user whose history it keeps."""
    import torch

    torch.manual_seed(0)
    config = by_name("HSTURankerConfig")(
        width=128,
        max_length=EVENTS + 1,
        blocks=4,
        heads=1,
        qk_width=128,
        v_width=128,
        dropout=0.0,
        actions=3,
        tasks=(("taken", (1,)),),
    )
    falcon = by_name("Falcon")(by_name("HSTURanker")(config, ITEMS).eval(), kernel="fused")
    now, hour = 1_600_000_000, 3600
    user = by_name("SequenceBatch").serving(
        by_name("Jagged")(torch.randint(1, ITEMS + 1, (EVENTS,)), torch.tensor([0, EVENTS])),
        time=now + hour * torch.arange(EVENTS),
        action=torch.ones(EVENTS, dtype=torch.int64),
    )
    codes = torch.randint(1, ITEMS + 1, (CANDIDATES,))
    return partial(falcon.score, user, codes, request_time=now + hour * EVENTS, key=1)


def cascade(_: Path, __: Path) -> Measured:
    """CPU-milliseconds per request to two towers, HCN and DIN, each with its default sizes."""
    import numpy as np
    import torch

    source = by_name("CompleteJourney").open()
    task = by_name("build_next_basket")(source, households=HOUSEHOLDS)
    torch.manual_seed(0)
    about = (task.spec, task.items, task.count)
    retriever = by_name("TwoTower")(by_name("TwoTowerConfig")(views="none"), *about)
    coarse = by_name("HCN")(by_name("HCNConfig")(), *about)
    artifact = by_name("RetrieverArtifact")
    deployment = by_name("Deployment")(
        artifact.of(retriever, task),
        artifact.of(coarse, task),
        _ranker(task),
        by_name("Draws")(),
        histories=by_name("Histories").of_task(task),
    )
    recommender, requests = deployment.cascade(), by_name("visit_requests")
    recommender.recommend_many(requests(task, task.visits("valid")[:8]))
    visits = np.random.default_rng(0).permutation(task.visits("test"))[:REQUESTS]
    asked = [requests(task, visits[at : at + 1]) for at in range(len(visits))]
    start = time.process_time()
    for one in asked:
        recommender.recommend_many(one)
    return {"request_cpu_ms": 1e3 * (time.process_time() - start) / len(asked)}


def _ranker(task: Any) -> Any:
    """An untrained DIN of the choice task's features, whose vocabularies are of made-up rows."""
    import numpy as np
    import polars as pl
    import torch

    catalogue = by_name("choice_catalogue")(task)
    features = by_name("choice_features")(task.spec, 1)
    known = {feature.name: feature.vocabulary for feature in task.spec.features}
    rng, number = np.random.default_rng(0), 1000
    rows = {"item_id": rng.choice(task.items.ids, number)}
    for one in features:
        if one.of == "item" or one.kind == "sequence":
            continue
        if one.kind == "categorical":
            rows[one.name] = rng.choice(known[one.name], number)
        else:
            rows[one.name] = rng.integers(0, 90, number)
    spec = by_name("fit_spec")(features, pl.DataFrame(rows).lazy(), catalogue.lazy())
    torch.manual_seed(2)
    model = by_name("DIN")(by_name("DINConfig")(), spec, spec.encode_items(catalogue))
    return by_name("Ranker")(model=model, spec=spec, catalogue=catalogue)


def adapters(scratch: Path, _: Path) -> Measured:
    """Tokens per CPU-second of `tune`, of `tune_jobs` with four jobs, and of decoding."""
    lora, config, job = by_name("LoRA")(rank=8), by_name("TuneConfig"), by_name("Job")
    settings = {"learning_rate": 0.01, "checkpoint_every": 0}
    alone = config(steps=WARM + 36, batch=8, micro=8, **settings)
    tuned = by_name("apply")(_llama(), lora, seed=0)
    joint = config(steps=WARM + 30, batch=4, micro=4, **settings)
    jobs = [job(f"job-{seed}", lora, _texts(seed), joint) for seed in range(4)]
    return {
        "tune_tokens_per_cpu_second": _tuning_rate("tune", (tuned, _texts(9), alone)),
        "tune_jobs_tokens_per_cpu_second": _tuning_rate("tune_jobs", (_llama(), jobs)),
        "decode_tokens_per_cpu_second": _decode_rate(scratch),
    }


def _tuning_rate(name: str, arguments: tuple[Any, ...]) -> float:
    """Tokens per CPU-second of a step after the first ones; all texts are of one length."""
    ends: list[float] = []
    found = by_name(name)(*arguments, on_step=lambda _: ends.append(time.process_time()))
    tokens = sum(one.tokens for one in found.values()) if isinstance(found, dict) else found.tokens
    steps = [end - start for start, end in pairwise(ends[WARM - 1 :])]
    return float(tokens / len(ends) / _usual(steps))


def _decode_rate(scratch: Path) -> float:
    """Tokens per CPU-second of a pass that writes a token of every row."""
    config = by_name("ServingConfig")(drive="outside", pool_bytes=64 << 20)
    models = by_name("AdapterModels")(_llama(), _tokens(), name="base", config=config)
    for seed in range(ADAPTERS):
        folder = scratch / f"lora-{seed}"
        by_name("apply")(_llama(), by_name("LoRA")(rank=8), seed=seed).save(folder)
        models.add(folder.name, folder)
    asked = by_name("GenerationConfig")(max_tokens=ANSWER)
    passes: list[float] = []
    for _ in range(2):
        rows = []
        for row in range(ROWS):
            model = models[f"lora-{row % ADAPTERS}"]
            # A row of an answer was a job.
            queued = model.row if hasattr(model, "row") else model.job
            rows.append(queued(list(_bytes(row, PROMPT)), asked, row))
        models.submit(rows)
        passes = []
        while not all(row.over for row in rows):
            began = time.process_time()
            done = models.step()
            if not done.prompted and done.written == ROWS:
                passes.append(time.process_time() - began)
    return ROWS / _usual(passes)


def _llama() -> Any:
    """A Llama of 600,000 weights: the same in every process."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = LlamaConfig(
            vocab_size=VOCABULARY,
            hidden_size=128,
            intermediate_size=256,
            num_hidden_layers=4,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=256,
            initializer_range=0.15,
        )
        model: Any = LlamaForCausalLM(config)
        return model.eval().requires_grad_(False)


def _tokens() -> Any:
    """A tokeniser of bytes that no token ends, so that answers have their full length."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    plain = Tokenizer(models.BPE({letter: at for at, letter in enumerate(letters)}, []))
    plain.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    plain.decoder = decoders.ByteLevel()
    fast: Any = PreTrainedTokenizerFast
    return by_name("HuggingFaceTokens")(fast(tokenizer_object=plain))


def _bytes(seed: int, number: int) -> Sequence[int]:
    import numpy as np

    return tuple(np.random.default_rng(seed).integers(0, 256, number).tolist())


def _texts(seed: int) -> Any:
    """64 texts of 64 tokens, a quarter of which answer."""
    whole = [_bytes(100 * seed + at, 64) for at in range(64)]
    return by_name("Texts")(tuple(one[:48] for one in whole), tuple(one[48:] for one in whole))


def _usual(seconds: Sequence[float]) -> float:
    """The lower quartile: what else the machine does makes steps longer, never shorter."""
    return statistics.quantiles(seconds, n=4)[0]


def _least_ms(step: Callable[[], object], runs: int) -> float:
    """The least CPU-milliseconds of `runs` runs, after two that do not count."""
    taken = []
    for _ in range(runs + 2):
        start = time.process_time()
        step()
        taken.append(time.process_time() - start)
    return 1e3 * min(taken[2:])


def _has_bfloat16() -> bool:
    """Whether the processor multiplies bfloat16."""
    path = Path("/proc/cpuinfo")
    return path.is_file() and "avx512_bf16" in path.read_text("utf-8")


#: Each is given an empty folder, and one in which tasks are kept.
BENCHMARKS: dict[str, Callable[[Path, Path], Measured]] = {
    "din": din,
    "hstu_speed": hstu_speed,
    "cascade": cascade,
    "adapters": adapters,
}


def main(name: str, cache: Path, out: Path) -> None:
    """Measure one benchmark, and write its values."""
    import torch

    torch.set_num_threads(1)
    without_pictures()
    with tempfile.TemporaryDirectory() as folder:
        out.write_text(json.dumps(BENCHMARKS[name](Path(folder), cache)), "utf-8")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]))
