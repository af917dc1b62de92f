from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from adwright.core.errors import ConfigError, ValueInvalidError
from adwright.lm.engine.base import (
    cancelled_score,
    continuation_ids,
    paired,
    prompt_ids,
    prompts_ids,
    require_known,
    require_room,
    require_text,
    runs,
)
from adwright.lm.engine.generation import Chat, Message, TokenPrompt
from adwright.lm.engine.scripted import ByteTokens


class NoBeginning(ByteTokens):
    @property
    def begin_id(self) -> int | None:
        return None


def test_each_kind_of_prompt() -> None:
    tokens = ByteTokens()
    assert prompt_ids(tokens, "ab", vocabulary=300) == [97, 98]
    assert prompt_ids(tokens, TokenPrompt((5, 6)), vocabulary=300) == [5, 6]
    assert prompt_ids(tokens, [Message("user", "hi")], vocabulary=300) == list(
        b"user: hi\nassistant: "
    )
    assert prompt_ids(tokens, "", vocabulary=300) == [256]
    with pytest.raises(ValueInvalidError, match="empty"):
        prompt_ids(NoBeginning(), "", vocabulary=300)


def test_settings_of_a_chat_are_told_or_refused() -> None:
    turns = (Message("user", "a"),)
    plain = prompt_ids(ByteTokens(), turns, vocabulary=0)
    assert prompt_ids(ByteTokens(), Chat(turns), vocabulary=0) == plain
    assert list(Chat(turns)) == list(turns)
    with pytest.raises(ConfigError, match="nothing but the messages"):
        prompt_ids(ByteTokens(), Chat(turns, {"loud": True}), vocabulary=0)

    class Loud(ByteTokens):
        """Has a template with one setting."""

        def chat_with(
            self, messages: Sequence[Message], settings: Mapping[str, object]
        ) -> list[int]:
            return [*self.chat(messages), 33] if settings["loud"] else self.chat(messages)

    assert prompt_ids(Loud(), Chat(turns, {"loud": True}), vocabulary=0) == [*plain, 33]


def test_tokens_that_the_network_lacks_are_refused() -> None:
    tokens = ByteTokens()
    assert prompt_ids(tokens, TokenPrompt((299,)), vocabulary=300) == [299]
    # A tokeniser may know more than the network.
    for prompt in (TokenPrompt((5, 98)), "ab", [Message("user", "b")]):
        with pytest.raises(ValueInvalidError, match=r"no such token .*0 to 97") as caught:
            prompts_ids(tokens, [TokenPrompt((5,)), prompt], 0, vocabulary=98)
        assert caught.value.row == 1
    with pytest.raises(ValueInvalidError, match="no such token"):
        prompt_ids(NoBeginning(), TokenPrompt((-1,)), vocabulary=0)
    for pair in ((TokenPrompt((98,)), "a"), ("a", TokenPrompt((7, 98)))):
        with pytest.raises(ValueInvalidError, match="no such token"):
            continuation_ids(tokens, [pair[0]], [pair[1]], vocabulary=98)
    require_known([10**9], 0)
    require_known([97], 98)
    for beyond in (2**31, 2**63, 10**30):
        with pytest.raises(ValueInvalidError, match="no such token"):
            require_known([beyond], 0)
    with pytest.raises(ValueInvalidError, match="row 3, value 98"):
        require_known([97, 98], 98, row=3)


def test_half_a_character_has_no_tokens() -> None:
    tokens = ByteTokens()
    for prompt in ("a\udc00", [Message("user", "a\ud800")]):
        with pytest.raises(ValueInvalidError, match="half a character") as caught:
            prompts_ids(tokens, ["a", prompt], 0, vocabulary=300)
        assert caught.value.row == 1
    with pytest.raises(ValueInvalidError, match="half a character"):
        continuation_ids(tokens, ["a"], ["\ud83d"], vocabulary=300)
    require_text("\U0001f600")


def test_room() -> None:
    assert prompts_ids(ByteTokens(), ["abc", "d"], 4, vocabulary=300) == [[97, 98, 99], [100]]
    with pytest.raises(ValueInvalidError, match="no room") as caught:
        prompts_ids(ByteTokens(), ["d", "abc"], 3, vocabulary=300)
    assert caught.value.row == 1
    require_room([[1, 2, 3]], 3, room=0)
    require_room([[1] * 1000], 0, room=1)


def test_pairs() -> None:
    found = continuation_ids(ByteTokens(), ["a", ""], ["b", TokenPrompt((7,))], vocabulary=300)
    assert found == [([97], [98]), ([256], [7])]
    with pytest.raises(ValueInvalidError, match="continuation is empty") as caught:
        continuation_ids(ByteTokens(), ["a", "a"], ["b", ""], vocabulary=300)
    assert caught.value.row == 1
    with pytest.raises(ValueInvalidError, match="1 prompts cannot be paired with 2"):
        paired(["a"], ["b", "c"])
    assert "cancelled" in str(cancelled_score())


def test_runs_of_rows() -> None:
    found = [(one.start, one.stop) for one in runs([3, 2, 9, 1, 1], 5)]
    assert found == [(0, 2), (2, 3), (3, 5)]
