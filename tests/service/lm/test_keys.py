from __future__ import annotations

from pathlib import Path

import pytest

from adwright.core.errors import ConfigError
from adwright.service.lm.config import Callers, read_keys, require_keys


def test_who_calls() -> None:
    assert Callers("", {}).tenant_of("") == ""
    callers = Callers("k0", {"a": "k1", "b": "k2"})
    assert callers.several
    assert not Callers("k0", {}).several
    found = [callers.tenant_of(f"Bearer {key}") for key in ("k0", "k1", "k2", "k3", "")]
    assert found == ["", "a", "b", None, None]
    assert [callers.tenant_of(text) for text in ("k1", "Basic k1", "")] == [None] * 3
    assert callers.tenant_of("bearer k1") == "a"
    assert callers.tenant_of("Bearer \udce9") is None


def test_a_file_of_keys(tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text("# who  key\n\nshop-1 k1\n  shop-2\tk2  \n")
    assert read_keys(file) == {"shop-1": "k1", "shop-2": "k2"}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("a k1\nb", "line 2"),
        ("a k1\na k2", "line 2"),
        ("a k1\nb k1", "line 2"),
        ("a s3crèt", "line 1"),
        ("a b s3cret", "line 1"),
    ],
)
def test_what_is_wrong_is_named_without_a_key(text: str, line: str, tmp_path: Path) -> None:
    file = tmp_path / "keys"
    file.write_text(text, "utf-8")
    with pytest.raises(ConfigError) as told:
        read_keys(file)
    assert line in str(told.value)
    assert "s3cr" not in str(told.value)


def test_no_file_and_no_key(tmp_path: Path) -> None:
    (tmp_path / "empty").write_text("# nobody\n")
    for path in (tmp_path / "none", tmp_path, tmp_path / "empty"):
        with pytest.raises(ConfigError):
            read_keys(path)
    with pytest.raises(ConfigError, match="same key"):
        require_keys({"a": "k", "b": "k"})
