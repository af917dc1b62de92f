"""Pairs of prompt and answer, as tokens."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from adwright.core.errors import ConfigError, DataError, ValueInvalidError
from adwright.training.tuning.texts import PairsConfig, TextRow, Texts, held_apart


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
