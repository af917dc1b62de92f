from __future__ import annotations

from pathlib import Path

import pytest

from adwright.core.errors import FileUnreadableError, ResourceError
from adwright.creative.records.seeing.batch import AdFile, describe_all
from adwright.creative.records.seeing.describe import Describer
from adwright.creative.records.verbal.record import AdRecord
from tests.support.creative.drawn_ads import Shot, drawn, saved

PICTURE = saved(drawn(Shot("white", "red"), (64, 48)))


def test_a_bad_file_does_not_harm_the_others(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "good.png").write_bytes(PICTURE)
    (tmp_path / "bad.png").write_bytes(PICTURE[:50])
    ads = [
        AdFile(tmp_path / "bad.png"),
        AdFile(tmp_path / "good.png", brand="Mill Lane", title="Bread", words="Two for 3."),
        AdFile(tmp_path / "none.png"),
        AdFile(b"text", name="note"),
        AdFile(None, title="Fresh bread"),
    ]
    found = describe_all(Describer(["colours"]), ads)
    assert [one is not None for one in found.records] == [False, True, False, False, True]
    good = found.records[1]
    assert good is not None
    assert (good.brand, good.title, good.words) == ("Mill Lane", "Bread", "Two for 3.")
    assert found.records[4] == AdRecord(title="Fresh bread")
    assert found.errors.keys() == {0, 2, 3}
    for place, name in ((0, "bad.png"), (2, "none.png"), (3, "note")):
        error = found.errors[place]
        assert isinstance(error, FileUnreadableError)
        assert error.file.endswith(name)
    assert "5 ads" in capsys.readouterr().err


def test_a_cache_that_cannot_be_written_stops_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError):
        describe_all(Describer(["colours"], cache=tmp_path / "file" / "seen"), [AdFile(PICTURE)])


def test_nothing_is_described_of_nothing() -> None:
    assert describe_all(Describer(), []).records == ()
