"""What a language model is tuned on: prompts or conversations, and their answers, from a file.

Conversations in the form of OpenAI's `messages`: each answer of the assistant is a text.

    {"messages": [{"role": "system", "content": "Be brief."},
                  {"role": "user", "content": "A headline for tea."},
                  {"role": "assistant", "content": "Sip slowly."},
                  {"role": "user", "content": "Shorter."},
                  {"role": "assistant", "content": "Sip."}]}

has two answers, and so is two texts: the first after two turns, the second after four. What is
learned is then what the model is asked for in use, whatever its template makes of earlier turns,
and costs reading these again for each answer. As with OpenAI, a turn of the assistant of weight 0
is read and not learned, `developer` is another name of `system`, and a content may be a list of
parts that are texts.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jinja2 import TemplateError
from numpy.typing import NDArray

from adwright.core.config import settings
from adwright.core.errors import ConfigError, DataError, ValueInvalidError
from adwright.core.hashing import content_hash
from adwright.tuning.packing.texts import Packed, pack

_ROLES = ("system", "developer", "user", "assistant", "tool")


class ChatTurn(NamedTuple):
    """One message. role: system, user, assistant or tool."""

    role: str
    content: str


Turns = tuple[ChatTurn, ...]


def asked_and_answered(
    messages: object, *, file: str, row: int, column: str
) -> list[tuple[Turns, str]]:
    """Read pairs of the turns before an answer and the answer, in their order.

    Raises DataError, naming file, row and field, where `messages` is no list of messages with a
    role and a text, or there is no answer to learn.
    """

    def bad(what: str, hint: str) -> DataError:
        return DataError(what, file=file, row=row, column=column, hint=hint)

    if not isinstance(messages, list):
        raise bad(
            "a conversation is no list of messages", '[{"role": "user", "content": ...}, ...]'
        )
    turns: list[ChatTurn] = []
    found: list[tuple[Turns, str]] = []
    for number, message in enumerate(messages):
        role = message.get("role") if isinstance(message, Mapping) else None
        if role not in _ROLES:
            raise bad(f"message {number} has the role {role!r}", f"one of {', '.join(_ROLES)}")
        content = _text(message.get("content"))
        if not content.strip():
            raise bad(
                f"message {number}, of the {role}, has no text",
                "leave the conversation out: calls of tools and images are not learned here",
            )
        if role == "assistant" and message.get("weight", 1) != 0:
            if not any(turn.role != "system" for turn in turns):
                raise bad(
                    f"message {number}, of the assistant, answers nothing",
                    "give it weight 0, or a turn of the user before it",
                )
            found.append((tuple(turns), content))
        turns.append(ChatTurn("system" if role == "developer" else str(role), content))
    if not found:
        raise bad("a conversation has no answer to learn", "add a turn of the assistant")
    return found


def _text(content: object) -> str:
    """The text of a content, empty where a part of it is none."""
    parts = content if isinstance(content, list) else [{"text": content}]
    texts = [part.get("text") if isinstance(part, Mapping) else None for part in parts]
    told = [text for text in texts if isinstance(text, str)]
    return "".join(told) if len(told) == len(texts) else ""


Ints = NDArray[np.int64]


class TextRow(NamedTuple):
    """A text before it is encoded. said: the prompt, or the turns before the answer. group: of the
    rows that are held out together."""

    said: str | Turns
    answer: str
    group: str


@settings
class PairsConfig:
    """Where the texts are.

    path: JSON lines with the fields `prompt` and `answer`, or with whole conversations in
    `messages`, see `conversations`. group: a field whose values are held out together, empty for
    each line by itself. valid: share of the groups that validates, 0 for none. max_length: tokens
    per text. system: said before each that has no such turn.
    """

    path: Path
    prompt: str = "prompt"
    answer: str = "answer"
    group: str = ""
    valid: float = 0.1
    max_length: int = 384
    system: str = ""
    messages: str = "messages"

    def __post_init__(self) -> None:
        if not 0 <= self.valid < 1 or self.max_length < 8:
            raise ConfigError(
                "valid is a share below 1, max_length at least 8",
                where=f"{self.valid}, {self.max_length}",
                hint="--valid 0.1 --max-length 384",
            )

    def rows(self) -> list[TextRow]:
        """Read all texts: one of each line with a prompt, one of each answer in a conversation.

        Raises DataError for a file that cannot be read or has no rows, a line that is no JSON
        object, or a field that is missing or no text, with its row; and as `asked_and_answered`.
        """
        file, found = str(self.path), list[TextRow]()
        for number, (row, line) in enumerate(_lines(self.path)):
            group = _fields(line, row, file, (self.group,))[0] if self.group else str(number)
            if isinstance(line, Mapping) and self.prompt not in line and self.messages in line:
                said = line[self.messages]
                texts = asked_and_answered(said, file=file, row=row, column=self.messages)
                found += [TextRow(turns, answer, group) for turns, answer in texts]
            else:
                prompt, answer = _fields(line, row, file, (self.prompt, self.answer))
                found.append(TextRow(prompt, answer, group))
        if not found:
            hint = "write one object per line"
            raise DataError("there are no texts", file=file, hint=hint)
        return found


@dataclass(frozen=True, eq=False)
class Texts:
    """N texts. prompts, answers: N tuples of tokens each. cut: how many were too long, so that the
    prompt lost its end (a conversation its oldest turns, or the answer its end, where that is not
    enough)."""

    prompts: tuple[tuple[int, ...], ...]
    answers: tuple[tuple[int, ...], ...]
    cut: int = 0

    @classmethod
    def of(
        cls,
        pairs: Iterable[tuple[str | Turns, str]],
        tokenizer: Any,
        *,
        max_length: int = 384,
        system: str = "",
    ) -> Texts:
        """Encode pairs of prompt and answer in the tokenizer's chat template, or as they are where
        it has none; the answer is followed by the token that ends a turn.

        pairs: a prompt may be all turns before the answer. tokenizer: of transformers. max_length:
        tokens of prompt and answer together; of what is too long the oldest turns go, and then the
        end of the last words. system: what is said before, where the turns do not say it.
        Raises ValueInvalidError for an empty prompt or answer, or turns that the template refuses,
        with the row.
        """
        prompts, answers, cut = [], [], 0
        for row, (said, answer) in enumerate(pairs):
            turns = said if isinstance(said, tuple) else (ChatTurn("user", said),)
            empty = not any(turn.content.strip() for turn in turns)
            if empty or not answer.strip():
                raise ValueInvalidError(
                    "a text needs a prompt and an answer",
                    row=row,
                    column="prompt" if empty else "answer",
                    hint="leave the row out",
                )
            if system and turns[0].role != "system":
                turns = (ChatTurn("system", system), *turns)
            end = [] if tokenizer.eos_token_id is None else [tokenizer.eos_token_id]
            tail = (_plain(tokenizer, answer) + end)[: max_length - 1]
            head = _prompt(tokenizer, turns, row)
            if len(head) + len(tail) > max_length:
                cut += 1
                head = _shorter(tokenizer, turns, row, max_length - len(tail))
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
    names, of = np.unique([row.group for row in rows], return_inverse=True)
    drawn = np.random.default_rng(seed).permutation(len(names))
    held = np.isin(of, drawn[: round(data.valid * len(names))])
    if held.all():
        raise ConfigError(
            "all texts are held out for validation",
            where=f"valid = {data.valid}, {len(names)} groups",
            hint="lower --valid (valid in a run file), or give more groups",
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


def _lines(path: str | Path) -> Iterator[tuple[int, object]]:
    """Number and value of each line that is not empty."""
    try:
        lines = Path(path).read_text("utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(
            "the texts cannot be read", file=str(path), hint="check the path"
        ) from error
    for row, line in enumerate(lines):
        if not line.strip():
            continue
        try:
            found = json.loads(line)
        except ValueError as error:
            hint = "write one object per line"
            raise DataError(
                f"a line is no JSON: {error}", file=str(path), row=row, hint=hint
            ) from error
        yield row, found


def _fields(found: object, row: int, file: str, fields: Sequence[str]) -> tuple[str, ...]:
    values = []
    for name in fields:
        value = found.get(name) if isinstance(found, Mapping) else None
        if not isinstance(value, str):
            raise DataError(
                "a row lacks a text",
                file=file,
                row=row,
                column=name,
                hint="name the fields that hold the texts: --prompt-field and --answer-field, "
                "--messages-field for whole conversations, --group",
            )
        values.append(value)
    return tuple(values)


def _plain(tokenizer: Any, text: str) -> list[int]:
    return list(tokenizer(text, add_special_tokens=False)["input_ids"])


def _prompt(tokenizer: Any, turns: Turns, row: int) -> list[int]:
    if not getattr(tokenizer, "chat_template", None):
        begin = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
        return begin + _plain(tokenizer, "".join(f"{turn.content}\n" for turn in turns))
    told = [turn._asdict() for turn in turns]
    try:
        text = tokenizer.apply_chat_template(told, tokenize=False, add_generation_prompt=True)
    except TemplateError as error:
        raise ValueInvalidError(
            f"the model's chat template refuses the turns: {error}",
            row=row,
            column="messages",
            hint="bring them into the order that the model knows, or leave the row out",
        ) from error
    return _plain(tokenizer, text)


def _shorter(tokenizer: Any, turns: Turns, row: int, room: int) -> list[int]:
    """Encode turns in at most `room` tokens: the oldest go, two by two, so that user and assistant
    still take turns; then the last words lose their end."""
    system = turns[: int(turns[0].role == "system")]
    rest = turns[len(system) :]
    head = _prompt(tokenizer, turns, row)
    while len(head) > room and len(rest) > 2:
        rest = rest[2:]
        head = _prompt(tokenizer, (*system, *rest), row)
    if len(head) <= room:
        return head
    words = _plain(tokenizer, rest[-1].content)
    left = words[: max(room - (len(head) - len(words)), 0)]
    last = ChatTurn(rest[-1].role, tokenizer.decode(left))
    # Decoding and encoding again may give a token more than before.
    return _prompt(tokenizer, (*system, *rest[:-1], last), row)[:room]
