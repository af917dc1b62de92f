from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from adwright.core.errors import ArtifactError
from adwright.lm.serving.prefixes import StoredPrefix, read_prefix, write_prefix

PREFIX = StoredPrefix("base", (5, 6, 7, 8), torch.randn(2, 3, 4), "lora", "tenant")


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("adapter", ["lora", None])
def test_there_and_back(tmp_path: Path, dtype: torch.dtype, adapter: str | None) -> None:
    prefix = replace(PREFIX, pages=PREFIX.pages.to(dtype), adapter=adapter)
    write_prefix(tmp_path / "a", prefix)
    found = read_prefix(tmp_path / "a")
    assert found.pages.dtype == dtype
    assert torch.equal(found.pages, prefix.pages)
    assert replace(found, pages=prefix.pages) == prefix


def test_what_is_none(tmp_path: Path) -> None:
    write_prefix(tmp_path / "whole", PREFIX)
    data = (tmp_path / "whole").read_bytes()
    (tmp_path / "half").write_bytes(data[: len(data) // 2])
    save_file({"tokens": torch.zeros(1)}, tmp_path / "other")
    save_file({}, tmp_path / "empty", {"format": "adwright-prefix-1"})
    for name in ("missing", "half", "other", "empty"):
        with pytest.raises(ArtifactError, match=name):
            read_prefix(tmp_path / name)
