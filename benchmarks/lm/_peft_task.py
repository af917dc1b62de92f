"""The task and the methods of benchmarks/lm/peft.py: the category of a product offer, told from
its title.

PriceRunner's offers, one of each product: no product is in two of the splits. A prompt is
"Product: TITLE\\nCategory:" and the answer the category's name. A model's choice is greedy along
the names: first tokens tell all categories apart but two, for which the second token does.
"""

from __future__ import annotations

import csv
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor

from adwright.core.hashing import content_hash
from adwright.training.tuning.texts import Texts
from adwright.tuning.packing.texts import Packed, pack

TRAIN, VALID, TEST = 288, 100, 300
#: Logits float32 [A, V] at the positions before the answers' tokens, in order.
Asked = Callable[[Packed], Tensor]

#: The maps of a decoder layer, as peft wants them named.
LINEAR = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]


@dataclass(frozen=True)
class Variant:
    """A row of the table: a method of ours, or peft's own. by: "ours" through `tune`,
    "wrapped" peft's module through `tune`, "peft" peft's with transformers' own loss on
    padded batches. settings: of the method.
    twin: the row of ours that does the same. like: the row whose learning rate is taken over;
    twins have that of theirs. rate: where the search for a learning rate begins."""

    by: Literal["ours", "wrapped", "peft"]
    settings: dict[str, Any] = field(default_factory=dict)
    rate: float = 1e-3
    twin: str = ""
    like: str = ""


def _ours(kind: str, rate: float, like: str = "", **settings: Any) -> Variant:
    return Variant("ours", {"kind": kind, **settings}, rate, like=like)


VARIANTS: dict[str, Variant] = {
    "lora": _ours("LoRA", 3e-3),
    "full": _ours("FullTuning", 9e-5),
    "ladder": _ours("LadderTuning", 3e-3),
    "bitfit": _ours("BitFit", 9e-3),
    "(ia)3": _ours("IA3", 3e-2),
    "serial adapter": _ours("SerialAdapter", 3e-3),
    "dora": _ours("DoRA", 3e-3, "lora"),
    "mezo": _ours("MeZO", 1e-6),
    "prompt": _ours("PromptTuning", 1e-2),
    "parallel adapter": _ours("ParallelAdapter", 3e-3, "serial adapter"),
    "lora-fa": _ours("LoRAFA", 6e-3, "lora"),
    "unipelt": _ours("UniPELT", 3e-3, "lora"),
    "ssf": _ours("SSF", 9e-3),
    "fishmask": _ours("FishMask", 1e-3),
    "pafi": _ours("PaFi", 1e-3, "fishmask"),
    "mam": _ours("MAM", 3e-3, "serial adapter"),
    "mezo on lora": _ours("MeZO", 1e-3, rank=8),
    "prefix": _ours("PrefixTuning", 1e-2),
    "peqa": _ours("PEQA", 1e-4),
    "vera": _ours("VeRA", 3e-2),
    "diff pruning": _ours("DiffPruning", 3e-4),
    "loha (peft)": Variant("wrapped", {"kind": "peft:loha"}, 1e-3),
    "adalora (peft)": Variant("wrapped", {"kind": "peft:adalora", "steps": 24}, 1e-3),
    "compacter": _ours("Compacter", 3e-3),
    "norms": _ours("NormTuning", 3e-3),
    "adapterdrop": _ours("AdapterDrop", 1e-3, drop=10, serve=5),
    "krona": _ours("KronA", 1e-3),
    "peft lora": Variant(
        "peft",
        {"config": "LoraConfig", "r": 8, "lora_alpha": 16, "target_modules": LINEAR},
        twin="lora",
    ),
    "peft dora": Variant(
        "peft",
        {
            "config": "LoraConfig",
            "r": 8,
            "lora_alpha": 16,
            "target_modules": LINEAR,
            "use_dora": True,
        },
        twin="dora",
    ),
    "peft ia3": Variant(
        "peft",
        {
            "config": "IA3Config",
            "target_modules": ["k_proj", "v_proj", "down_proj"],
            "feedforward_modules": ["down_proj"],
        },
        twin="(ia)3",
    ),
    "peft vera": Variant(
        "peft",
        {"config": "VeraConfig", "r": 64, "d_initial": 0.1, "target_modules": LINEAR},
        twin="vera",
    ),
    "peft prefix": Variant(
        "peft", {"config": "PrefixTuningConfig", "num_virtual_tokens": 20}, twin="prefix"
    ),
    # Begins as words of the vocabulary, as ours does; by default peft's is noise.
    "peft prompt": Variant(
        "peft",
        {
            "config": "PromptTuningConfig",
            "num_virtual_tokens": 20,
            "prompt_tuning_init": "SAMPLE_VOCAB",
        },
        twin="prompt",
    ),
    "peft norms": Variant(
        "peft",
        {
            "config": "LNTuningConfig",
            "target_modules": ["input_layernorm", "post_attention_layernorm", "norm"],
        },
        twin="norms",
    ),
}


@dataclass(frozen=True)
class Task:
    """Texts of the three splits, and the tokens of each category's name."""

    train: Texts
    valid: Texts
    test: Texts
    names: dict[str, tuple[int, ...]]

    @property
    def data_hash(self) -> str:
        """Hash of all splits."""
        return content_hash([self.train.data_hash, self.valid.data_hash, self.test.data_hash])


@dataclass(frozen=True)
class Judged:
    """right: bool [N], whether the category chosen is the offer's. nll: float64 [N], nats of its
    name."""

    right: np.ndarray[Any, Any]
    nll: np.ndarray[Any, Any]


def offers() -> list[tuple[str, str]]:
    """Title and category, one offer of each product, in an order drawn once."""
    path = Path(os.environ["ADWRIGHT_DATA"]) / "pricerunner" / "offers.csv"
    with path.open(encoding="utf-8") as file:
        rows = [(row[3], row[1], row[6]) for row in csv.reader(file)]
    random = np.random.default_rng(0)
    seen: dict[str, tuple[str, str]] = {}
    for row in random.permutation(len(rows)).tolist():
        product, title, category = rows[row]
        seen.setdefault(product, (title, category))
    return list(seen.values())


def task(tokenizer: Any) -> Task:
    """Tokenise the three splits."""
    rows = offers()[: TRAIN + VALID + TEST]

    def tokens(text: str) -> tuple[int, ...]:
        return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])

    names = {category: tokens(f" {category}") for category in sorted({row[1] for row in rows})}
    texts = Texts(
        tuple(tokens(f"Product: {title}\nCategory:") for title, _ in rows),
        tuple(names[category] for _, category in rows),
    )
    ends = np.cumsum([0, TRAIN, VALID, TEST])
    train, valid, test = (texts.some(range(start, end)) for start, end in pairwise(ends.tolist()))
    return Task(train, valid, test, names)


def judged(asked: Asked, texts: Texts, names: dict[str, tuple[int, ...]], batch: int) -> Judged:
    """Compare the category that a model chooses with the true one. batch: texts per pass."""
    chosen, nll = [], []
    with torch.inference_mode():
        for rows in np.array_split(np.arange(len(texts)), -(-len(texts) // batch)):
            pairs = [(texts.prompts[row], texts.answers[row]) for row in rows.tolist()]
            logits = asked(pack(pairs))
            lengths = [len(answer) for _, answer in pairs]
            known = logits.log_softmax(1).gather(
                1, torch.tensor([t for _, answer in pairs for t in answer])[:, None]
            )[:, 0]
            nll += [float(-each.sum()) for each in torch.split(known, lengths)]
            first = np.cumsum([0, *lengths[:-1]])
            chosen += _choices(asked, logits[first], [prompt for prompt, _ in pairs], names)
    truth = [answer for answer in texts.answers]
    right = [one == other for one, other in zip(chosen, truth, strict=True)]
    return Judged(np.array(right), np.array(nll))


def _choices(
    asked: Asked,
    first: Tensor,
    prompts: Sequence[tuple[int, ...]],
    names: dict[str, tuple[int, ...]],
) -> list[tuple[int, ...]]:
    """The name of each prompt's category. first: logits [S, V] behind the prompts."""
    heads = sorted({name[0] for name in names.values()})
    best = first[:, heads].argmax(1).tolist()
    found: list[tuple[int, ...] | None] = []
    open_rows = []
    for row, at in enumerate(best):
        left = [name for name in names.values() if name[0] == heads[at]]
        found.append(left[0] if len(left) == 1 else None)
        if len(left) > 1:
            open_rows.append(row)
    if open_rows:
        # All names that share their first token differ in the second.
        shared = [[n for n in names.values() if n[0] == heads[best[row]]] for row in open_rows]
        texts = [(prompts[r], s[0][:2]) for r, s in zip(open_rows, shared, strict=True)]
        logits = asked(pack(texts))[1::2]
        for row, left, line in zip(open_rows, shared, logits, strict=True):
            found[row] = left[int(line[[name[1] for name in left]].argmax())]
    return [name for name in found if name is not None]
