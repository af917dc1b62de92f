"""Pairs of prompt and answer, as tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from adwright.core.errors import ConfigError, DataError, ValueInvalidError
from adwright.training.tuning.texts import (
    ChatTurn,
    PairsConfig,
    TextRow,
    Texts,
    asked_and_answered,
    held_apart,
)
from tests.support.lm.tiny_llama import tiny_tokenizer


class Letters:
    """A tokenizer whose tokens are letters."""

    eos_token_id = 1
    bos_token_id = 2

    def __init__(self, template: bool) -> None:
        self.chat_template = "yes" if template else None

    def __call__(self, text: str, *, add_special_tokens: bool) -> dict[str, list[int]]:
        assert not add_special_tokens
        return {"input_ids": [ord(letter) for letter in text]}

    def decode(self, tokens: list[int]) -> str:
        return "".join(chr(token) for token in tokens)

    def apply_chat_template(
        self, turns: list[dict[str, str]], *, tokenize: bool, add_generation_prompt: bool
    ) -> str:
        assert add_generation_prompt
        assert not tokenize
        return "".join(f"<{turn['role'][0]}{turn['content']}>" for turn in turns) + "<a"


def said(texts: Texts, row: int, tokenizer: Any) -> tuple[str, str]:
    return tokenizer.decode(texts.prompts[row]), tokenizer.decode(texts.answers[row])


def test_prompt_and_answer_stand_in_the_template() -> None:
    letters = Letters(template=True)
    texts = Texts.of([("what", "that"), ("who", "he")], letters, system="be brief")
    assert said(texts, 0, letters) == ("<sbe brief><uwhat><a", "that\x01")
    assert said(texts, 1, letters) == ("<sbe brief><uwho><a", "he\x01")
    assert texts.cut == 0
    assert texts.tokens == sum(texts.lengths.tolist()) == 24 + 5 + 19 + 3 - 4
    packed = texts.packed([1, 0])
    assert packed.answers == 8
    assert texts.some([1]).prompts == texts.prompts[1:]
    assert texts.some([0, 1]).data_hash == texts.data_hash != texts.some([1]).data_hash


def test_without_a_template_a_line_ends_the_prompt() -> None:
    letters = Letters(template=False)
    texts = Texts.of([("what", "that")], letters)
    assert said(texts, 0, letters) == ("\x02what\n", "that\x01")
    texts = Texts.of([("what", "that")], letters, system="be brief")
    assert said(texts, 0, letters) == ("\x02be brief\nwhat\n", "that\x01")


def test_of_a_long_prompt_the_users_words_lose_their_end() -> None:
    letters = Letters(template=True)
    texts = Texts.of([("abcdefghij", "yes")], letters, max_length=12)
    assert said(texts, 0, letters) == ("<uabc><a", "yes\x01")
    assert texts.cut == 1


def test_of_a_long_answer_the_end_goes() -> None:
    letters = Letters(template=False)
    texts = Texts.of([("a", "a long answer")], letters, max_length=6)
    assert said(texts, 0, letters) == ("\x02", "a lon")


@pytest.mark.parametrize("pair", [("", "that"), ("what", " ")])
def test_an_empty_text_is_refused(pair: tuple[str, str]) -> None:
    with pytest.raises(ValueInvalidError, match="row 1"):
        Texts.of([("what", "that"), pair], Letters(template=True))


def test_pairs_are_read(tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text('{"in": "a", "out": "b"}\n\n{"in": "c", "out": "d", "more": 1}\n', "utf-8")
    rows = PairsConfig(file, "in", "out").rows()
    assert rows == [TextRow("a", "b", "0"), TextRow("c", "d", "1")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "row 0.*no JSON|no JSON.*row 0"),
        ('{"prompt": "a"}', "answer"),
        ('{"prompt": "a", "answer": 3}', "answer"),
        ("[1]", "prompt"),
    ],
)
def test_a_wrong_file_says_where(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text(text, "utf-8")
    with pytest.raises(DataError, match=message):
        PairsConfig(file).rows()


def test_a_missing_file_says_which(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.jsonl"):
        PairsConfig(tmp_path / "none.jsonl").rows()


@pytest.mark.parametrize("valid", [0.0, 0.3, 0.6])
def test_groups_are_held_out_whole_and_nothing_is_lost(tmp_path: Path, valid: float) -> None:
    file, letters = tmp_path / "pairs.jsonl", Letters(template=False)
    rows = [{"q": f"q{n}", "a": f"a{n}", "of": f"g{n % 5}"} for n in range(15)]
    file.write_text("\n".join(json.dumps(row) for row in rows), "utf-8")
    data = PairsConfig(file, prompt="q", answer="a", group="of", valid=valid)
    train, held = held_apart(data, letters, seed=1)
    whole = Texts.of([row[:2] for row in data.rows()], letters)
    groups = [
        {int(said(part, row, letters)[0][2:-1]) % 5 for row in range(len(part))}
        for part in (train, held)
    ]
    assert not groups[0] & groups[1]
    assert len(groups[1]) == round(valid * 5)
    assert sorted(train.prompts + held.prompts) == sorted(whole.prompts)
    again, _ = held_apart(data, letters, seed=1)
    assert again.data_hash == train.data_hash
    assert not valid or held_apart(data, letters, seed=3)[1].data_hash != held.data_hash


def test_a_file_that_leaves_nothing_to_train_on_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text("\n", "utf-8")
    with pytest.raises(DataError, match="no texts"):
        PairsConfig(file).rows()
    file.write_text('{"prompt": "a", "answer": "b"}\n', "utf-8")
    with pytest.raises(ConfigError, match="all texts are held out"):
        held_apart(PairsConfig(file, valid=0.9), Letters(template=False), 0)
    for wrong in ({"valid": 1.0}, {"valid": -0.1}, {"max_length": 7}):
        with pytest.raises(ConfigError, match="valid is a share below 1"):
            PairsConfig(file, **wrong)  # type: ignore[arg-type]


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
