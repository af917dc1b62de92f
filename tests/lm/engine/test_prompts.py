from __future__ import annotations

import pytest

from adwright.core.errors import ConfigError, ValueInvalidError
from adwright.lm.engine.generation import Message, TokenPrompt
from adwright.lm.engine.prompts import (
    cancelled_score,
    continuation_ids,
    paired,
    prompt_ids,
    prompts_ids,
    require_room,
)
from adwright.lm.engine.scripted import ByteTokens


class NoBeginning(ByteTokens):
    @property
    def begin_id(self) -> int | None:
        return None


def test_each_kind_of_prompt() -> None:
    tokens = ByteTokens()
    assert prompt_ids(tokens, "ab") == [97, 98]
    assert prompt_ids(tokens, TokenPrompt((5, 6))) == [5, 6]
    assert prompt_ids(tokens, [Message("user", "hi")]) == list(b"user: hi\nassistant: ")
    assert prompt_ids(tokens, "") == [256]
    with pytest.raises(ValueInvalidError, match="empty"):
        prompt_ids(NoBeginning(), "")


def test_room() -> None:
    assert prompts_ids(ByteTokens(), ["abc", "d"], 4) == [[97, 98, 99], [100]]
    with pytest.raises(ValueInvalidError, match="no room") as caught:
        prompts_ids(ByteTokens(), ["d", "abc"], 3)
    assert caught.value.row == 1
    require_room([[1, 2, 3]], 3, room=0)
    require_room([[1] * 1000], 0, room=1)
    with pytest.raises(ConfigError, match="one string"):
        prompts_ids(ByteTokens(), "abc", 4)


def test_pairs() -> None:
    found = continuation_ids(ByteTokens(), ["a", ""], ["b", TokenPrompt((7,))])
    assert found == [([97], [98]), ([256], [7])]
    with pytest.raises(ValueInvalidError, match="continuation is empty") as caught:
        continuation_ids(ByteTokens(), ["a", "a"], ["b", ""])
    assert caught.value.row == 1
    with pytest.raises(ValueInvalidError, match="1 prompts cannot be paired with 2"):
        paired(["a"], ["b", "c"])
    assert "cancelled" in str(cancelled_score())
