from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path

import pytest

from adwright.authoring.tasks import AuthoringRequest, Product, messages_of, task_named
from adwright.authoring.writer.drafts import Draft, Drafts, Provenance, ReviewDecision
from adwright.cli.author.preferences import preferences
from adwright.core.errors import DataError, ResourceError
from adwright.core.hashing import content_hash
from adwright.training.tuning.texts import PairsConfig

TEA = Product("t1", "Mill Lane Assam tea")
INSTRUCTIONS = {"headline": "Write a headline."}
RECIPE = {"platform": "", "labels": [], "voice": "", "instructions": INSTRUCTIONS}


def review(folder: Path, *, known: bool = True) -> None:
    """A journal with one edit."""
    request = AuthoringRequest(task_named("ads"), TEA)
    asked = messages_of(request, instruction=INSTRUCTIONS["headline"], voice="")
    prompt = content_hash([[one.role, one.content] for one in asked])[:24] if known else "0"
    with closing(Drafts.open(folder)) as drafts:
        drafts.note_products([(TEA, "h")])
        drafts.note_job("j", {"recipe": RECIPE})
        by = Provenance(job="j", prompt=prompt)
        drafts.write([Draft("t1", "headline", 0, "Best tea", provenance=by)])
        drafts.decide(ReviewDecision("t1", "headline", 0, "edit", "Assam tea"))


def test_what_was_preferred_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    review(tmp_path)
    out = tmp_path / "out.jsonl"
    preferences(tmp_path, out=out)
    (line,) = out.read_text().splitlines()
    assert json.loads(line)["chosen"][-1] == {"role": "assistant", "content": "Assam tea"}
    (learned,) = PairsConfig(path=out, messages="chosen").rows()
    assert learned.answer == "Assam tea"
    assert [turn.role for turn in learned.said] == ["system", "user"]
    assert "1 preferences (1 edits)" in capsys.readouterr().out
    with pytest.raises(ResourceError, match="exists already"):
        preferences(tmp_path, out=out)
    preferences(tmp_path, out=out, force=True)


def test_what_is_left_out_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    review(tmp_path, known=False)
    with pytest.raises(DataError, match="no decision tells"):
        preferences(tmp_path, out=tmp_path / "out.jsonl")
    assert "1 left out" in capsys.readouterr().err
    assert not (tmp_path / "out.jsonl").exists()


def test_a_folder_without_a_journal_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match="no journal"):
        preferences(tmp_path, out=tmp_path / "out.jsonl")
    assert list(tmp_path.iterdir()) == []
