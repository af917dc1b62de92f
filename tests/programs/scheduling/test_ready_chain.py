"""A ready chain: borders and tokens belong together."""

from __future__ import annotations

import pytest

from adwright.core.errors import ValueInvalidError
from tests.support.chains import chain_of


def test_the_prompt_is_up_to_the_last_border() -> None:
    assert chain_of(tokens=(10, 25)).prompt_tokens == 25


@pytest.mark.parametrize("tokens", [(), (0, 5), (5, 5), (9, 4)])
def test_borders_ascend(tokens: tuple[int, ...]) -> None:
    with pytest.raises(ValueInvalidError, match="chain a"):
        chain_of(tokens=tokens)


def test_each_border_has_a_hash() -> None:
    with pytest.raises(ValueInvalidError, match="1 borders and 2 counts"):
        chain_of(tokens=(5, 9), prefix=(1,))
