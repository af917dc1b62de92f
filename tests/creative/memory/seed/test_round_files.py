from __future__ import annotations

from pathlib import Path

import pytest

from adwright.core.errors import ResumeError
from adwright.creative.memory.seed.round_files import read_json, write_json


def test_values_come_back(tmp_path: Path) -> None:
    path = tmp_path / "round-1" / "x.json"
    assert read_json(path) is None
    write_json(path, {"a": [1, None, "é"]})
    assert read_json(path) == {"a": [1, None, "é"]}
    path.write_text("{")
    with pytest.raises(ResumeError, match="cannot be read"):
        read_json(path)
