from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from adwright.authoring.writer.config import WriteConfig
from adwright.authoring.writer.drafts import Draft, Drafts
from adwright.authoring.writer.recipe import recipe_of, require_same_recipe
from adwright.core.errors import ConfigError
from tests.support.writing import Teller, opened, table_of

MODEL = opened(Teller(lambda prompt, call: ""))
CONFIG = WriteConfig(("headline",))


def test_what_texts_follow_from_changes_their_hash() -> None:
    one = recipe_of(CONFIG, MODEL)
    assert set(one.digests) == {"headline"}
    told = replace(CONFIG, instructions=(("headline", "Shout."),))
    for other in (
        recipe_of(replace(CONFIG, seed=1), MODEL),
        recipe_of(replace(CONFIG, temperature=0.5), MODEL),
        recipe_of(replace(CONFIG, repair=False), MODEL),
        recipe_of(told, MODEL),
        recipe_of(CONFIG, replace(MODEL, name="other")),
        recipe_of(CONFIG, replace(MODEL, adapter_hash="x")),
    ):
        assert other.digests != one.digests
    assert recipe_of(told, MODEL).prompts["headline"].instruction == "Shout."


def test_what_they_do_not_follow_from_leaves_it() -> None:
    one = recipe_of(CONFIG, MODEL)
    for other in (
        replace(CONFIG, sample=3),
        replace(CONFIG, batch=5),
        replace(CONFIG, slots=("headline", "title")),
    ):
        found = recipe_of(other, MODEL)
        assert found.digests["headline"] == one.digests["headline"]
        assert found.job != one.job


def test_a_folder_holds_texts_of_one_recipe(tmp_path: Path) -> None:
    table, one = table_of(tmp_path, "Tea"), recipe_of(CONFIG, MODEL)
    with closing(Drafts.open(tmp_path)) as drafts:
        drafts.note_job(one.job, one.job_line(table))
        other = recipe_of(replace(CONFIG, seed=1, temperature=0.5), MODEL)
        require_same_recipe(drafts, other, rewrite=False)  # nothing is written yet
        drafts.write([Draft("p0", "headline", 0, "x")])
        require_same_recipe(drafts, one, rewrite=False)
        require_same_recipe(drafts, other, rewrite=True)
        more = recipe_of(replace(CONFIG, slots=("headline", "title")), MODEL)
        require_same_recipe(drafts, more, rewrite=False)
        with pytest.raises(ConfigError, match=r"another temperature, seed .*--rewrite"):
            require_same_recipe(drafts, other, rewrite=False)
