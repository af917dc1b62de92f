from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.core.errors import ConfigError
from adwright.core.hashing import content_hash, sha256_bytes, sha256_file

plain = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8")),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=3)
    ),
    max_leaves=10,
)


@pytest.mark.parametrize("size", [0, 1, (1 << 20) - 1, 1 << 20, (1 << 20) + 1])
def test_file_hash_is_the_hash_of_its_bytes(tmp_path: Path, size: int) -> None:
    data = b"a" * size
    (tmp_path / "file").write_bytes(data)
    assert sha256_file(tmp_path / "file") == hashlib.sha256(data).hexdigest()
    assert sha256_bytes(data) == hashlib.sha256(data).hexdigest()


def test_known_value() -> None:
    expected = hashlib.sha256('{"a":[1,2.5,null],"é":true}'.encode()).hexdigest()
    assert content_hash({"é": True, "a": [1, 2.5, None]}) == expected


@given(plain)
def test_survives_a_trip_through_json(value: object) -> None:
    assert content_hash(json.loads(json.dumps(value))) == content_hash(value)


@given(st.dictionaries(st.text(st.characters(codec="utf-8")), st.integers(), min_size=2))
def test_key_order_does_not_matter(value: dict[str, int]) -> None:
    assert content_hash(dict(reversed(value.items()))) == content_hash(value)


def test_differs_where_values_differ() -> None:
    values: list[object] = [1, 1.0, "1", True, None, [], {}, [1], [[1]], {"a": 1}, {"a": [1]}, ""]
    assert len({content_hash(value) for value in values}) == len(values)


def test_tuple_is_a_list() -> None:
    assert content_hash((1, (2,))) == content_hash([1, [2]])


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, b"x", {"a": object()}])
def test_refuses_what_has_no_canonical_form(value: object) -> None:
    with pytest.raises(ConfigError, match="no canonical JSON"):
        content_hash(value)


@pytest.mark.parametrize("value", [{1: 2}, [{"a": {None: 1}}], ({"a": 1, 2: 3},)])
def test_refuses_keys_that_are_not_text(value: object) -> None:
    with pytest.raises(ConfigError, match="not a string"):
        content_hash(value)


def test_refuses_text_that_has_no_utf8() -> None:
    with pytest.raises(ConfigError):
        content_hash("\ud800")
