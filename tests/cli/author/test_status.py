from __future__ import annotations

import json
import re
from contextlib import closing
from pathlib import Path

from adwright.authoring.writer.drafts import Drafts, ReviewDecision, RowFailure
from tests.support.commands import call


def test_what_there_is_is_told(job: Path, tmp_path: Path) -> None:
    with closing(Drafts.open(job)) as drafts:
        drafts.decide(ReviewDecision("p1", "headline", 0, "approve"))
        drafts.fail([RowFailure(f"p{n}", "title", 0, "no query") for n in range(3, 20)])
    said = call("author", "status", job)
    assert "headline" in said
    assert "failed: p3, title, variant 0: no query" in said
    assert "and 7 more failed" in said
    assert "done, 2 written" in said
    told = json.loads(call("author", "status", job, "--json"))
    assert told["slots"]["headline"]["approved"] == 1
    assert len(told["failures"]) == 17
    assert told["report"]["written"] == 2
    path = job / "drafts.jsonl"
    path.write_bytes(path.read_bytes().replace(b',"text":', b',"text"~', 1))
    assert re.search(
        "damaged: p., headline, variant 0: line .* cannot be read",
        call("author", "status", job),
    )
    told = json.loads(call("author", "status", job, "--json"))
    assert (len(told["damaged"]), sum(told["slots"]["headline"].values())) == (1, 1)
    assert "no journal of drafts" in call("author", "status", tmp_path, code=2)
