"""Records go into a table and come back as they were."""

from __future__ import annotations

import pytest

from adwright.core.errors import ValueInvalidError
from adwright.creative.records.verbal.record import AdRecord, Scene
from adwright.creative.records.verbal.records_table import records_table


def test_what_no_table_holds() -> None:
    bad = [AdRecord(), AdRecord(title="a\ud800")]
    with pytest.raises(ValueInvalidError, match="cannot be kept") as caught:
        records_table(bad)
    assert (caught.value.row, caught.value.column) == (1, "title")
    with pytest.raises(ValueInvalidError, match="cannot be kept") as caught:
        records_table([AdRecord(scenes=(Scene(faces=2**70),))])
    assert caught.value.column == "scenes"
