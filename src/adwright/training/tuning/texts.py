"""What a language model is tuned on: pairs of a prompt and its answer, read from a file."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from adwright.core.config import checked
from adwright.core.errors import ConfigError, DataError, ValueInvalidError
from adwright.core.hashing import content_hash
from adwright.tuning.packing.texts import Packed, pack

__all__ = ["PairsConfig", "Texts", "held_apart", "read_rows"]

Ints = NDArray[np.int64]


@checked
@dataclass(frozen=True)
class PairsConfig:
    """Where the texts are.

    path: JSON lines with the fields `prompt` and `answer`. group: a field whose values are held out
    together, empty for each row by itself. valid: share of the groups that validates, 0 for none.
    max_length: tokens per text. system: said before each.
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

    def rows(self) -> list[tuple[str, ...]]:
        """Read prompt, answer and, where there is one, group of each row.

        Raises DataError where there are no rows, and as `read_rows`.
        """
        fields = (self.prompt, self.answer, *((self.group,) if self.group else ()))
        if not (found := read_rows(self.path, fields)):
            hint = "write one object per line"
            raise DataError("there are no texts", file=str(self.path), hint=hint)
        return found


@dataclass(frozen=True, eq=False)
class Texts:
    """N texts. prompts, answers: N tuples of tokens each. cut: how many were too long, so that the
    prompt (or, where it alone is too long, the answer) lost its end."""

    prompts: tuple[tuple[int, ...], ...]
    answers: tuple[tuple[int, ...], ...]
    cut: int = 0

    @classmethod
    def of(
        cls,
        pairs: Iterable[tuple[str, ...]],
        tokenizer: Any,
        *,
        max_length: int = 384,
        system: str = "",
    ) -> Texts:
        """Encode pairs of prompt and answer in the tokenizer's chat template, or as they are where
        it has none; the answer is followed by the token that ends a turn.

        tokenizer: of transformers. max_length: tokens of prompt and answer together; of a prompt
        that is too long the user's own words lose their end. system: what is said before.
        Raises ValueInvalidError for an empty prompt or answer, with its row.
        """
        prompts, answers, cut = [], [], 0
        for row, (said, answer) in enumerate(pairs):
            if not said.strip() or not answer.strip():
                raise ValueInvalidError(
                    "a text needs a prompt and an answer",
                    row=row,
                    column="answer" if said.strip() else "prompt",
                    hint="leave the row out",
                )
            end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
            tail = (_plain(tokenizer, answer) + end)[: max_length - 1]
            head = _prompt(tokenizer, said, system)
            if len(head) + len(tail) > max_length:
                cut += 1
                room = max_length - len(tail) - (len(head) - len(_plain(tokenizer, said)))
                words = tokenizer.decode(_plain(tokenizer, said)[: max(room, 0)])
                # Decoding and encoding again may give a token more than before.
                head = _prompt(tokenizer, words, system)[: max_length - len(tail)]
            prompts.append(tuple(head))
            answers.append(tuple(tail))
        return cls(tuple(prompts), tuple(answers), cut)

    def __len__(self) -> int:
        return len(self.prompts)

    @property
    def lengths(self) -> Ints:
        """int64 [N], tokens of each text."""
        pairs = zip(self.prompts, self.answers, strict=True)
        return np.array([len(prompt) + len(answer) for prompt, answer in pairs], np.int64)

    @property
    def tokens(self) -> int:
        """Count the tokens of all texts."""
        return int(self.lengths.sum())

    @property
    def data_hash(self) -> str:
        """Hash of the tokens."""
        return content_hash([self.prompts, self.answers])

    def packed(self, rows: Sequence[int] | Ints) -> Packed:
        """Lay some texts end to end."""
        return pack([(self.prompts[row], self.answers[row]) for row in rows])

    def some(self, rows: Sequence[int] | Ints) -> Texts:
        """Select some texts, in this order."""
        chosen = [int(row) for row in rows]
        return Texts(
            tuple(self.prompts[row] for row in chosen), tuple(self.answers[row] for row in chosen)
        )


def held_apart(data: PairsConfig, tokenizer: Any, seed: int) -> tuple[Texts, Texts]:
    """Divide the texts into those to train on and those to validate with, groups drawn by `seed`.

    Raises ConfigError where all are held out, and as `PairsConfig.rows`.
    """
    rows = data.rows()
    groups = [row[2] if data.group else str(number) for number, row in enumerate(rows)]
    names, of = np.unique(groups, return_inverse=True)
    drawn = np.random.default_rng(seed).permutation(len(names))
    held = np.isin(of, drawn[: round(data.valid * len(names))])
    if held.all():
        raise ConfigError(
            "all texts are held out for validation",
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


def read_rows(path: str | Path, fields: Sequence[str]) -> list[tuple[str, ...]]:
    """Read these fields of a JSON-lines file, a tuple per line; empty lines are left out.

    Raises DataError for a file that cannot be read, a line that is no JSON object, or a field
    that is missing or no text, with its row.
    """
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            "the texts cannot be read", file=str(path), hint="check the path"
        ) from error
    return [_fields(line, row, str(path), fields) for row, line in enumerate(lines) if line.strip()]


def _fields(line: str, row: int, file: str, fields: Sequence[str]) -> tuple[str, ...]:
    try:
        found = json.loads(line)
    except ValueError as error:
        raise DataError(
            f"a line is no JSON: {error}", file=file, row=row, hint="write one object per line"
        ) from error
    values = []
    for name in fields:
        value = found.get(name) if isinstance(found, Mapping) else None
        if not isinstance(value, str):
            raise DataError(
                "a row lacks a text",
                file=file,
                row=row,
                column=name,
                hint="name the fields that hold the texts",
            )
        values.append(value)
    return tuple(values)


def _plain(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _prompt(tokenizer: Any, said: str, system: str) -> list[int]:
    if not getattr(tokenizer, "chat_template", None):
        begin = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
        return begin + _plain(tokenizer, f"{system}\n{said}\n" if system else f"{said}\n")
    turns = [{"role": "system", "content": system}] if system else []
    turns.append({"role": "user", "content": said})
    text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    return _plain(tokenizer, text)
