from __future__ import annotations

import zlib

import numpy as np
import pytest

from adwright.core.errors import ConfigError
from adwright.creative.records.encoders.hashed_text import HashedText


def literally(text: str, width: int) -> np.ndarray:
    """The formula of the module, gram by gram."""
    words = "".join(letter if letter.isalnum() else " " for letter in text.lower()).split()
    grams = [f"w {word}" for word in words]
    grams += [f"p {words[at]} {words[at + 1]}" for at in range(len(words) - 1)]
    for word in words:
        whole = "<" + word + ">"
        for n in (3, 4, 5):
            for at in range(len(whole)):
                if at + n <= len(whole):
                    grams.append(f"c {whole[at : at + n]}")
    made = np.zeros(width)
    for gram in set(grams):
        code = zlib.crc32(gram.encode())
        made[(code // 2) % width] += (1 if code % 2 else -1) * (1 + np.log(grams.count(gram)))
    return made / np.linalg.norm(made)


@pytest.mark.parametrize("text", ["Warm winter coat", "a a a b", "Überraschung, 50% off!"])
def test_as_the_formula_says(text: str) -> None:
    (found,) = HashedText(64).encode([text])
    assert np.allclose(found, literally(text, 64), atol=1e-6)


def test_like_texts_are_near() -> None:
    one, same, near, far = HashedText(512).encode(
        ["Warm winter coat", "warm WINTER coat!", "Warm winter coats", "Cordless drill, 18 V"]
    )
    assert np.array_equal(one, same)
    assert one @ near > 0.6
    assert one @ far < 0.2


def test_a_text_without_a_word_is_zero() -> None:
    assert not HashedText().encode(["", " - "]).any()
    assert HashedText().encode([]).shape == (0, 256)


def test_a_width_is_needed() -> None:
    with pytest.raises(ConfigError, match="at least 1 place"):
        HashedText(0)
