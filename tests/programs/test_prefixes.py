"""Prefixes: equal where everything before them is equal, and nowhere else."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.core.errors import ConfigError
from adwright.programs.prefixes import (
    PrefixSeed,
    block_keys,
    common_tokens,
    prefixes_of,
    text_prefixes,
)

SEED = PrefixSeed("shop", "smollm2")


def letters(text: str) -> list[int]:
    return [ord(one) for one in text]


SEGMENTS = st.lists(st.text(alphabet="ab", max_size=3), max_size=5)


@given(SEGMENTS, SEGMENTS)
def test_two_prompts_share_what_they_begin_with_and_no_more(
    one: list[str], other: list[str]
) -> None:
    found, against = prefixes_of(one, letters, SEED), prefixes_of(other, letters, SEED)
    first, second = "".join(one), "".join(other)
    borders = {len("".join(one[: at + 1])) for at in range(len(one))} - {0}
    borders &= {len("".join(other[: at + 1])) for at in range(len(other))}
    shared = [at for at in borders if first[:at] == second[:at]]
    assert common_tokens(found, against) == max(shared, default=0)
    assert len({*found.hashes} & {*against.hashes}) == len(shared)


@given(SEGMENTS)
def test_borders_ascend_to_the_whole_prompt(segments: list[str]) -> None:
    found = prefixes_of(segments, letters, SEED)
    assert list(found.tokens) == sorted(set(found.tokens))
    assert found.tokens[-1:] == ((len("".join(segments)),) if "".join(segments) else ())
    assert len(found.hashes) == len(found.tokens)


def test_a_hash_is_what_its_formula_says() -> None:
    found = prefixes_of(["a", "", "bc"], letters, SEED)
    told = SEED.key() + b"".join(ord(one).to_bytes(8, "little") for one in "abc")
    whole = hashlib.blake2b(told, digest_size=16).digest()
    assert found.hashes[-1] == int.from_bytes(whole)
    assert found.tokens == (1, 3)


@pytest.mark.parametrize(
    "other",
    [
        replace(SEED, domain="other shop"),
        replace(SEED, model="another"),
        replace(SEED, adapter="house"),
        replace(SEED, adapter=""),
        replace(SEED, version="2"),
        replace(SEED, public=True),
        PrefixSeed("shops", "mollm2"),
    ],
)
def test_parrot_fault_8_nothing_is_shared_across_tenants_models_and_adapters(
    other: PrefixSeed,
) -> None:
    """There a prefix was matched by its first characters, with no tenant in the key."""
    segments = ["You are the assistant of a shop. ", "tea"]
    found, against = (prefixes_of(segments, letters, one) for one in (SEED, other))
    assert common_tokens(found, against) == 0
    tokens = letters("".join(segments))
    assert not {*block_keys(tokens, 4, SEED)} & {*block_keys(tokens, 4, other)}


@given(SEGMENTS)
def test_texts_stand_for_their_tokens(segments: list[str]) -> None:
    by_text, by_tokens = text_prefixes(segments, len, SEED), prefixes_of(segments, letters, SEED)
    assert by_text.tokens == by_tokens.tokens
    assert not {*by_text.hashes} & {*by_tokens.hashes}
    whole = text_prefixes(["".join(segments)], len, SEED)
    assert whole.hashes == by_text.hashes[-1:]


def test_a_text_without_a_token_is_part_of_what_is_shared_and_no_border() -> None:
    found = text_prefixes(["a", " ", "b"], lambda text: len(text.strip()), SEED)
    other = text_prefixes(["a", "b"], len, SEED)
    assert (found.tokens, found.hashes[0]) == ((1, 2), other.hashes[0])
    assert found.hashes[1] != other.hashes[1]


def test_parrot_fault_8_texts_that_only_begin_alike_are_told_apart() -> None:
    rules = "You are the assistant of a shop that sells tea and "
    one, other = (prefixes_of([rules + what, "x"], letters, SEED) for what in ("cups.", "pots."))
    assert common_tokens(one, other) == 0


@given(st.lists(st.integers(0, 3), max_size=20), st.integers(1, 5))
def test_keys_of_blocks_are_those_of_borders(tokens: list[int], block: int) -> None:
    keys = block_keys(tokens, block, SEED)
    assert len(keys) == len(tokens) // block
    cut = ["".join(map(str, tokens[at : at + block])) for at in range(0, len(tokens), block)]
    found = prefixes_of(cut, lambda text: [int(one) for one in text], SEED)
    assert keys == found.hashes[: len(keys)]


def test_tokens_are_tokens() -> None:
    with pytest.raises(ConfigError, match="below 0"):
        block_keys([-1], 1, SEED)
    with pytest.raises(ConfigError, match="at least 1"):
        block_keys([1], 0, SEED)
