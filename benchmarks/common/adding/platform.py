"""Add a made-up platform of ads, which exports views of pins, to a copy of src."""

from __future__ import annotations

from benchmarks.common.adding.copied import Copied

FILE = "adwright/data/synonyms/exports.toml"
PLATFORM = """[pinboard]
what = "a delivery record"
needed = ["ad_id", "impressions"]
signs = ["pinid", "pinviews", "pinday"]

[pinboard.synonyms]
ad_id = ["pinid"]
day = ["pinday"]
impressions = ["pinviews"]
clicks = ["pinclicks"]
headline = ["pintitle"]

[google]
"""


def put_platform(copy: Copied) -> None:
    """Make the addition in `copy`: its columns are all that is to be said of it."""
    copy.change(FILE, ("[google]\n", PLATFORM))
