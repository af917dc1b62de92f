"""HOST:PORT/TOKEN, out of an argument, a file or the environment."""

from __future__ import annotations

from pathlib import Path

import pytest

from adwright.core.errors import ConfigError
from adwright.training.offsite.wire import TOKEN, Address, read_address


def test_an_address_may_lie_in_a_file(tmp_path: Path) -> None:
    (tmp_path / "address").write_text("localhost:7000/abc/d\nmore\n")
    assert read_address(f"@{tmp_path / 'address'}") == Address("localhost", 7000, "abc/d")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_address(f"@{tmp_path / 'none'}")


@pytest.mark.parametrize("text", ["", "7000", "a:", "a:x", "a:0", "a:99999", "a:\u0663", "/t"])
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="an address is HOST:PORT/TOKEN"):
        read_address(text)


def test_an_address_of_the_old_spelling_says_what_it_lacks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(TOKEN, raising=False)
    for text in ("127.0.0.1:7000", "127.0.0.1:7000/"):
        with pytest.raises(ConfigError, match=r"lacks the token .*HOST:PORT/TOKEN as the other"):
            read_address(text)
