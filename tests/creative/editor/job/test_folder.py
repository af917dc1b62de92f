from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from adwright.core.errors import ConfigError, ResourceError, ResumeError
from adwright.core.hashing import sha256_file
from adwright.creative.editor.job.folder import JobFolder, require_apart
from adwright.creative.editor.job.outcome import AdOutcome

ASKED = {"settings": {"calls": 30}, "judges": ["a"]}


def opened(path: Path, asked: dict = ASKED, *, write: bool = True) -> JobFolder:
    return JobFolder.opened(path, asked, form="JPEG", write=write)


def test_what_is_kept_is_found_while_the_source_is_the_same(tmp_path: Path) -> None:
    source = tmp_path / "0.png"
    source.write_bytes(b"one")
    folder = opened(tmp_path / "job")
    done = AdOutcome("a/b c", str(source), sha256_file(source), "edited", "Worth a test.")
    kept = folder.keep(done, b"picture")
    assert (folder.path / kept.output).read_bytes() == b"picture"
    assert kept.output.endswith(".jpg")
    again = opened(tmp_path / "job")
    assert again.outcome("a/b c", source) == kept
    assert again.outcome("a/b-c", source) is None
    source.write_bytes(b"two")
    assert again.outcome("a/b c", source) is None
    source.write_bytes(b"one")
    (folder.path / kept.output).unlink()
    assert again.outcome("a/b c", source) is None


def test_what_failed_or_is_damaged_is_done_again(tmp_path: Path) -> None:
    source = tmp_path / "0.png"
    source.write_bytes(b"one")
    folder = opened(tmp_path / "job")
    done = AdOutcome("a", str(source), sha256_file(source), "unchanged", "It stays.")
    folder.keep(replace(done, status="failed"), None)
    assert folder.outcome("a", source) is None
    folder.keep(done, None)
    assert folder.outcome("a", source) == done
    (record,) = (folder.path / "ads").glob("*.json")
    record.write_text(record.read_text("utf-8")[:40], "utf-8")
    assert folder.outcome("a", source) is None


def test_another_job_and_other_folders_are_refused(tmp_path: Path) -> None:
    opened(tmp_path / "job")
    with pytest.raises(ResumeError, match="another judges"):
        opened(tmp_path / "job", {**ASKED, "judges": ["b"]})
    (tmp_path / "job" / "job.json").write_text("no", "utf-8")
    with pytest.raises(ResumeError, match="cannot be read"):
        opened(tmp_path / "job")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "a.txt").write_text("a", "utf-8")
    with pytest.raises(ResourceError, match="no job"):
        opened(tmp_path / "notes")
    with pytest.raises(ResourceError, match="no job"):
        opened(tmp_path / "notes" / "a.txt")
    opened(tmp_path / "dry", write=False)
    assert not (tmp_path / "dry").exists()


def test_pictures_lie_apart_from_what_is_written(tmp_path: Path) -> None:
    ads = tmp_path / "ads"
    ads.mkdir()
    require_apart(tmp_path / "edits", ads, [ads / "0.png"])
    with pytest.raises(ConfigError, match="among the ads"):
        require_apart(ads / "edits", ads, [])
    with pytest.raises(ConfigError, match="folder of the edited"):
        require_apart(tmp_path / "edits", None, [tmp_path / "edits" / "pictures" / "0.png"])
