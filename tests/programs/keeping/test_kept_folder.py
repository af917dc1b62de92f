from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from adwright.core.errors import ResourceError
from adwright.programs.keeping.kept_folder import KeptFolder
from adwright.programs.program import Program

PART = Program(values={"a": "b"})


def test_one_process_has_it_at_a_time(tmp_path: Path) -> None:
    async def main() -> None:
        first, second = KeptFolder(tmp_path / "kept"), KeptFolder(tmp_path / "kept", patience=0.1)
        await first.open()
        assert (tmp_path / "kept").stat().st_mode & 0o777 == 0o700
        with pytest.raises(ResourceError, match="another service keeps its programs there"):
            await second.open()
        third = KeptFolder(tmp_path / "kept")
        waits = asyncio.create_task(third.open())
        await asyncio.sleep(0.15)
        assert not waits.done()
        first.close()
        first.close()
        await waits
        third.close()

    asyncio.run(main())


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ResourceError, match=r"file"):
        asyncio.run(KeptFolder(tmp_path / "file" / "kept").open())


def test_programs_come_back_the_oldest_first_and_what_is_none_is_named(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = KeptFolder(tmp_path)
    for name in ("b", "a", "broken"):
        log = folder.new(name, "shop", "detach", 5)
        log.part(PART, "", "")
        log.close()
    (tmp_path / "broken.jsonl").write_text("{}\n[\n", encoding="utf-8")
    folder.new("empty", "shop", "detach", 5).close()
    with caplog.at_level(logging.WARNING):
        found = list(folder.programs())
    assert [one.program_id for one in found] == ["b", "a"]
    assert "broken.jsonl" in caplog.text
    assert not (tmp_path / "empty.jsonl").exists()
    for one in found:
        one.log.close()
