from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from adwright.core.errors import ConfigError
from adwright.creative.editor.guards.consent import (
    ConsentEntry,
    ConsentManifest,
    consent_manifest,
    crop_hash,
)
from adwright.creative.editor.provenance.hashes import picture_hash
from tests.support.creative.edited_pictures import PLACES, scene

NAME = picture_hash(scene())
BOX = PLACES[0].pixels(scene().shape)
ENTRY = ConsentEntry("release", "contract 7", "declared", picture=NAME, box=BOX)


def test_a_face_is_found_by_its_picture_and_about_its_box() -> None:
    manifest = ConsentManifest((ENTRY,))
    assert manifest.entry_for(NAME, BOX) == ENTRY
    left, top, right, bottom = BOX
    assert manifest.entry_for(NAME, (left + 5, top - 4, right + 5, bottom - 4)) == ENTRY
    assert manifest.entry_for(NAME, PLACES[1].pixels(scene().shape)) is None
    assert manifest.entry_for("0" * 64, BOX) is None
    assert manifest.entry_for(NAME, (0, 0, 320, 240)) is None
    assert ConsentManifest().entry_for(NAME, BOX) is None


def test_a_face_is_found_by_its_crop_in_any_picture() -> None:
    name = crop_hash(scene(), PLACES[0])
    entry = ConsentEntry("synthetic", crop=name)
    manifest = ConsentManifest((ENTRY, entry))
    assert manifest.entry_for("0" * 64, BOX, name) == entry
    assert manifest.entry_for("0" * 64, BOX) is None
    assert crop_hash(255 - scene(), PLACES[0]) != name


def test_of_two_entries_the_nearer_counts() -> None:
    left, top, right, bottom = BOX
    wide = ConsentEntry("synthetic", picture=NAME, box=(left - 6, top - 6, right + 6, bottom + 6))
    assert ConsentManifest((wide, ENTRY)).entry_for(NAME, BOX) == ENTRY
    minor = ConsentEntry("synthetic", adult="minor", picture=NAME, box=BOX)
    told = ConsentManifest((minor,)).minors(NAME, [BOX, (0, 0, 9, 9)])
    assert told == [True, False]
    near = ConsentEntry("synthetic", adult="minor", picture=NAME, box=wide.box)
    assert ConsentManifest((ENTRY, near)).entry_for(NAME, BOX) == near
    other = ConsentEntry("synthetic", picture="0" * 64, box=BOX)
    crop = ConsentEntry("synthetic", crop="1" * 64)
    assert ConsentManifest((ENTRY, other, crop, wide)).boxes(NAME) == (BOX, wide.box)


def test_the_last_day_is_over_when_it_is_over_everywhere() -> None:
    entry = ConsentEntry("synthetic", until=date(2026, 11, 28), picture=NAME, box=BOX)
    end = datetime(2026, 11, 29, 12, tzinfo=UTC)
    assert not entry.has_ended(end - timedelta(minutes=1))
    assert entry.has_ended(end)
    assert not ENTRY.has_ended(end)


def test_a_file_says_the_same(tmp_path: Path) -> None:
    path = tmp_path / "consent.toml"
    path.write_text(
        f'[[entries]]\nkind = "release"\nwho = "contract 7"\nadult = "declared"\n'
        f'picture = "{NAME}"\nbox = {list(BOX)}\n'
        f'[[entries]]\nkind = "own_likeness"\nwho = "me"\nuntil = 2027-12-31\n'
        f'crop = "{NAME}"\n'
    )
    manifest = consent_manifest(path)
    assert manifest.entries[0] == ENTRY
    assert manifest.entries[0].digest == ENTRY.digest
    assert manifest.entries[1].until == date(2027, 12, 31)
    assert manifest.entries[1].digest != ENTRY.digest


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ('kind = "gift"', "kind"),
        ('kind = "release"\nwho = ""', "who gave it"),
        ('kind = "synthetic"\npicture = "abc"', "64"),
        ('kind = "synthetic"\nuntil = "soon"', "until"),
        ('kind = "synthetic"\nadults = "declared"', "adults"),
        ('kind = "synthetic"\nbox = [1, 2, 3]', "box"),
        ('kind = "synthetic"\ncrop = "' + "0" * 64 + '"', "or by crop"),
    ],
)
def test_an_entry_that_is_none_is_refused(tmp_path: Path, line: str, said: str) -> None:
    path = tmp_path / "consent.toml"
    rest = f'picture = "{NAME}"\n' * ("picture" not in line) + "box = [1, 2, 3, 4]\n" * (
        "box" not in line
    )
    path.write_text(f"[[entries]]\n{line}\n{rest}")
    with pytest.raises(ConfigError, match=said) as caught:
        consent_manifest(path)
    assert str(path) in str(caught.value)


def test_it_needs_a_picture() -> None:
    with pytest.raises(ConfigError, match="or by crop"):
        ConsentEntry("synthetic")
    assert np.asarray(scene()).shape == (240, 320, 3)
