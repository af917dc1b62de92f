from __future__ import annotations

from pathlib import Path

import pytest

from adwright.cli.author.options import comma_list, pairs_of, read_labels
from adwright.core.errors import ConfigError


def test_lists_and_pairs_are_read() -> None:
    assert comma_list(" a, b,,c ") == ("a", "b", "c")
    assert comma_list(None) == ()
    assert pairs_of("--value", ["occasion=Easter = spring"]) == (("occasion", "Easter = spring"),)
    assert pairs_of("--value", None) == ()
    with pytest.raises(ConfigError, match="no pair"):
        pairs_of("--value", ["occasion"])


def test_labels_are_lines(tmp_path: Path) -> None:
    path = tmp_path / "labels.txt"
    path.write_text("Tea\n\n Cups \nTea\n", "utf-8-sig")
    assert read_labels(path) == ("Tea", "Cups")
    assert read_labels(None) == ()
    with pytest.raises(ConfigError, match="cannot be read"):
        read_labels(tmp_path / "none.txt")
