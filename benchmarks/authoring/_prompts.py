"""How requests are put to the model: as tokens of a prompt, and of an answer.

short   one user turn: the task's instruction (one word where a label is asked for), then the
        product's fields as `adwright author` shows them. No system turn and no list of labels,
        which would be most of the tokens of a short title. What is tuned is tuned and asked so.
full    the turns of `messages_of`, with the labels listed, as `adwright author` asks any model.
shots   as short, behind four training rows with their answers.

The untuned model is asked in the form, short or full, that is better on validation rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

import numpy as np

from adwright.authoring.instructions.rows import AuthoringExample
from adwright.authoring.tasks import (
    AuthoringRequest,
    PromptBounds,
    input_of,
    instruction_of,
    messages_of,
    shown_labels,
)
from adwright.lm.engine.weights import load_hf_tokenizer, smollm2_folder
from adwright.training.tuning.texts import Texts
from benchmarks.authoring._rows import Part, rows_of

Style = Literal["short", "full", "shots"]
Ids = tuple[int, ...]

#: Labels are not listed.
_BARE = PromptBounds(labels=0, title=300, value=200, attributes=12)
_USER, _ASSISTANT, _END = "<|im_start|>user\n", "<|im_start|>assistant\n", "<|im_end|>"
_SHOTS = 4
_WORDS = {"classify": "Category?", "intent": "Why?"}


@dataclass(frozen=True)
class Asking:
    """A style, and for `shots` the rows that are shown, drawn by a seed."""

    style: Style
    shots: tuple[AuthoringExample, ...] = ()

    @classmethod
    def with_shots(cls, part: Part, seed: int) -> Asking:
        """Four training rows of the part; of labels, of different ones where there are."""
        rows = rows_of(part).train
        order = np.random.default_rng([seed, len(rows)]).permutation(len(rows)).tolist()
        first: dict[str, AuthoringExample] = {}
        for at in order:
            key = rows[at].answer if part.form == "label" else str(at)
            first.setdefault(key, rows[at])
            if len(first) == _SHOTS:
                break
        return cls("shots", tuple(first.values()))


@cache
def tokenizer() -> Any:
    """The base's."""
    return load_hf_tokenizer(smollm2_folder())


def texts_of(part: Part) -> Texts:
    """The training rows of a part as texts, in the short form."""
    rows = rows_of(part).train
    asking = Asking("short")
    return Texts(
        tuple(prompt_ids(one.request, asking) for one in rows),
        tuple(answer_ids(one) for one in rows),
    )


def prompt_ids(request: AuthoringRequest, asking: Asking) -> Ids:
    """The tokens up to where the answer begins."""
    if asking.style == "full":
        turns = [{"role": one.role, "content": one.content} for one in messages_of(request)]
        text = tokenizer().apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
        return _encode(str(text))
    return _encode(_before(asking) + _turn(_short(request)))


def prior_ids(request: AuthoringRequest, asking: Asking) -> Ids:
    """The prompt without its data: how likely a label is anyway is asked with it."""
    return _encode(_before(asking) + _turn(_asked(request)))


def answer_ids(example: AuthoringExample) -> Ids:
    """The answer as it is learned, with the token that ends a turn."""
    return _encode(f"{_shown_answer(example)}{_END}")


def label_ids(request: AuthoringRequest) -> list[Ids]:
    """Each label as an answer."""
    return [_encode(f"{label}{_END}") for label in shown_labels(request)]


def _shown_answer(example: AuthoringExample) -> str:
    request = example.request
    if example.answer in request.labels:
        return shown_labels(request)[request.labels.index(example.answer)]
    return example.answer


def _short(request: AuthoringRequest) -> str:
    return f"{_asked(request)}\n{input_of(request, bounds=_BARE)}"


def _asked(request: AuthoringRequest) -> str:
    return _WORDS.get(request.task.name) or instruction_of(request.task)


def _turn(text: str) -> str:
    return f"{_USER}{text}{_END}\n{_ASSISTANT}"


def _before(asking: Asking) -> str:
    """The rows that are shown first."""
    return "".join(
        f"{_turn(_short(one.request))}{_shown_answer(one)}{_END}\n" for one in asking.shots
    )


def _encode(text: str) -> Ids:
    return tuple(tokenizer()(text, add_special_tokens=False)["input_ids"])
