from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.creative.records.seeing.opening.frames import Thinned, not_watchable
from adwright.creative.records.seeing.opening.media import opened_media
from tests.support.creative.drawn_ads import Shot, drawn, saved


@given(st.lists(st.floats(0, 5), max_size=200))
def test_at_most_thirty_frames_of_a_second_are_taken_and_none_goes_back(times: list[float]) -> None:
    thinned = Thinned()
    taken = [at for at in times if thinned.takes(at)]
    assert taken == sorted(taken)
    assert all(after - at >= 0.9 / 30 for at, after in pairwise(taken))


@pytest.mark.parametrize(("rate", "kept"), [(25, 25), (30, 30), (60, 30)])
def test_usual_rates_are_kept_or_halved(rate: int, kept: int) -> None:
    thinned = Thinned()
    assert sum(thinned.takes(at / rate) for at in range(rate)) == kept


def test_the_error_names_the_file_and_the_reason() -> None:
    with opened_media(saved(drawn(Shot())), name="spring.gif") as media:
        error = not_watchable(media, "it has sound only")
    assert error.file == "spring.gif"
    assert "sound only" in str(error)
