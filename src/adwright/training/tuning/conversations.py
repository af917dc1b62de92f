"""Conversations in the form of OpenAI's `messages`: each answer of the assistant is a text.

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

from collections.abc import Mapping
from typing import NamedTuple

from adwright.core.errors import DataError

__all__ = ["ChatTurn", "Turns", "asked_and_answered"]

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
