"""Conversations as OpenAI's messages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from adwright.core.errors import DataError, ValueInvalidError
from adwright.training.tuning.texts import (
    ChatTurn,
    PairsConfig,
    Texts,
    asked_and_answered,
    held_apart,
)
from tests.support.lm.tiny_llama import tiny_tokenizer

TALK = [
    {"role": "developer", "content": "be brief"},
    {"role": "user", "content": [{"type": "text", "text": "name "}, {"text": "a tea"}]},
    {"role": "assistant", "content": "green"},
    {"role": "user", "content": "another"},
    {"role": "assistant", "content": "black", "weight": 0},
    {"role": "user", "content": "a third"},
    {"role": "assistant", "content": "white"},
]


def read(messages: object) -> list[Any]:
    return asked_and_answered(messages, file="talk.jsonl", row=4, column="messages")


def test_each_answer_has_the_turns_before_it() -> None:
    found = read(TALK)
    assert [answer for _, answer in found] == ["green", "white"]
    assert found[0][0] == (ChatTurn("system", "be brief"), ChatTurn("user", "name a tea"))
    assert [turn.role for turn in found[1][0]] == ["system", *["user", "assistant"] * 2, "user"]
    assert found[1][0][4].content == "black"


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ("hello", "no list"),
        ([{"role": "user"}], "message 0, of the user, has no text"),
        ([{"role": "bot", "content": "x"}], "role 'bot'"),
        (["x"], "role None"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "has no text"),
        ([{"role": "user", "content": "x"}], "no answer to learn"),
        ([{"role": "system", "content": "x"}, {"role": "assistant", "content": "y"}], "nothing"),
        ([{"role": "user", "content": "x"}, {"role": "assistant", "content": None}], "no text"),
    ],
)
def test_what_is_no_conversation_is_named(messages: object, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read(messages)
    assert "talk.jsonl, row 4, column messages" in str(caught.value)


def test_both_forms_may_stand_in_one_file(tmp_path: Path) -> None:
    file = tmp_path / "texts.jsonl"
    rows = [{"messages": TALK}, {"prompt": "p", "answer": "a"}, {"talk": TALK, "messages": 3}]
    lines = "\n".join(json.dumps(row) for row in rows[:2])
    file.write_text(lines, "utf-8")
    found = PairsConfig(file).rows()
    assert [(row.answer, row.group) for row in found] == [
        ("green", "0"),
        ("white", "0"),
        ("a", "1"),
    ]
    file.write_text(json.dumps(rows[2]), "utf-8")
    assert len(PairsConfig(file, messages="talk").rows()) == 2


def test_a_conversation_is_held_out_whole(tmp_path: Path) -> None:
    file, tokenizer = tmp_path / "texts.jsonl", tiny_tokenizer()
    talks = [[*TALK[:5], {"role": "user", "content": f"no {n}"}, TALK[6]] for n in range(4)]
    file.write_text("\n".join(json.dumps({"messages": talk}) for talk in talks), "utf-8")
    train, valid = held_apart(PairsConfig(file, valid=0.25), tokenizer, 0)
    assert (len(train), len(valid)) == (6, 2)
    text = tokenizer.decode(valid.prompts[1])
    assert text.startswith("<|begin|>system\nbe brief<|end|><|begin|>user\nname a tea<|end|>")
    assert text.endswith("<|end|><|begin|>assistant\n")
    assert tokenizer.decode(valid.answers[1]) == "white<|end|>"


def test_of_a_long_conversation_the_oldest_turns_go() -> None:
    tokenizer = tiny_tokenizer()
    pairs = read(TALK)
    whole = Texts.of(pairs, tokenizer)
    room = len(whole.prompts[1]) + len(whole.answers[1]) - 1
    cut = Texts.of(pairs, tokenizer, max_length=room)
    text = tokenizer.decode(cut.prompts[1])
    assert cut.cut == 1
    assert text.startswith("<|begin|>system\nbe brief<|end|><|begin|>user\nanother<|end|>")
    assert text.endswith("a third<|end|><|begin|>assistant\n")
    short = Texts.of(pairs, tokenizer, max_length=16)
    assert max(short.lengths) <= 16


def test_a_system_prompt_stands_where_there_is_none() -> None:
    tokenizer = tiny_tokenizer()
    talks = [(read(TALK)[0][0], "green"), (read(TALK[1:])[0][0], "green"), ("hi", "green")]
    texts = Texts.of(talks, tokenizer, system="be kind")
    begins = [tokenizer.decode(prompt).split("<|end|>")[0] for prompt in texts.prompts]
    assert begins == [f"<|begin|>system\nbe {how}" for how in ("brief", "kind", "kind")]


def test_turns_that_the_template_refuses_are_named() -> None:
    turns = (ChatTurn("user", "a"), ChatTurn("system", "b"))
    with pytest.raises(ValueInvalidError, match="the system speaks first") as caught:
        Texts.of([("x", "y"), (turns, "z")], tiny_tokenizer())
    assert "row 1" in str(caught.value)
