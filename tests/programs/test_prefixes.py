"""Prefixes: equal where everything before them is equal, and nowhere else."""

from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.programs.prefixes import PrefixSeed, text_prefixes

SEED = PrefixSeed("shop", "smollm2")
SEGMENTS = st.lists(st.text(alphabet="ab", max_size=3), max_size=5)


@given(SEGMENTS, SEGMENTS)
def test_two_prompts_share_what_they_begin_with_and_no_more(
    one: list[str], other: list[str]
) -> None:
    found, against = text_prefixes(one, len, SEED), text_prefixes(other, len, SEED)
    first, second = "".join(one), "".join(other)
    borders = {len("".join(one[: at + 1])) for at in range(len(one))} - {0}
    borders &= {len("".join(other[: at + 1])) for at in range(len(other))}
    shared = [at for at in borders if first[:at] == second[:at]]
    assert len({*found.hashes} & {*against.hashes}) == len(shared)


@given(SEGMENTS)
def test_borders_ascend_to_the_whole_prompt(segments: list[str]) -> None:
    found = text_prefixes(segments, len, SEED)
    assert list(found.tokens) == sorted(set(found.tokens))
    assert found.tokens[-1:] == ((len("".join(segments)),) if "".join(segments) else ())
    assert len(found.hashes) == len(found.tokens)
    assert text_prefixes(["".join(segments)], len, SEED).hashes == found.hashes[-1:]


def test_a_hash_is_what_its_formula_says() -> None:
    found = text_prefixes(["a", "", "bc"], len, SEED)
    whole = hashlib.blake2b(SEED.key() + b"abc", digest_size=16, person=b"text").digest()
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
    found, against = (text_prefixes(segments, len, one) for one in (SEED, other))
    assert not {*found.hashes} & {*against.hashes}


def test_a_text_without_a_token_is_part_of_what_is_shared_and_no_border() -> None:
    found = text_prefixes(["a", " ", "b"], lambda text: len(text.strip()), SEED)
    other = text_prefixes(["a", "b"], len, SEED)
    assert (found.tokens, found.hashes[0]) == ((1, 2), other.hashes[0])
    assert found.hashes[1] != other.hashes[1]


def test_parrot_fault_8_texts_that_only_begin_alike_are_told_apart() -> None:
    rules = "You are the assistant of a shop that sells tea and "
    one, other = (text_prefixes([rules + what, "x"], len, SEED) for what in ("cups.", "pots."))
    assert not {*one.hashes} & {*other.hashes}
