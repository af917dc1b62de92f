"""?"""

from __future__ import annotations

import json
import re
import threading
import time
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adwright.authoring.checks.limits import Finding, limit_named
from adwright.authoring.tasks import Product
from adwright.authoring.writer.config import (
    WriteBudget,
    WriteConfig,
    WriterPlatform,
    WriterPrices,
    slot_named,
    slots,
)
from adwright.authoring.writer.drafts import (
    JOURNAL,
    Draft,
    DraftMoved,
    Drafts,
    Provenance,
    ReviewDecision,
    RowFailure,
    TextState,
    WritePlan,
    WriteRow,
    decision_line,
    decision_of,
    draft_line,
    draft_of,
    failure_line,
    failure_of,
    make_plan,
    product_line,
    product_of,
)
from adwright.authoring.writer.exporting import (
    changes_in,
    creatives_of,
    export_texts,
    guessed_tokens,
    rehearse,
    texts_of,
    undo_export,
)
from adwright.authoring.writer.job import run_job
from adwright.authoring.writer.products import read_products
from adwright.authoring.writer.recipe import (
    check_configs,
    limit_name,
    limit_of,
    recipe_of,
    require_same_recipe,
    voice_text,
)
from adwright.core.clock import FixedClock
from adwright.core.errors import (
    AssetError,
    ConfigError,
    DataError,
    FileUnreadableError,
    ResourceError,
    SchemaError,
    ValueInvalidError,
)
from adwright.creative.records.ad_record import AdRecord
from adwright.creative.records.ads_table import read_ads
from adwright.data.sources.tables import read_creatives, write_creatives
from adwright.lm.engine.generation import Message
from adwright.lm.open_model import LmSpec
from tests.support.writing import Teller, opened, table_of


def test_prices_are_for_a_million_tokens() -> None:
    prices = WriterPrices(prompt=2.0, answer=8.0, cached=0.5)
    assert prices.of(1_000_000, 400_000, 500_000) == pytest.approx(1.2 + 0.2 + 4.0)
    assert WriterPrices(prompt=2.0).of(1_000_000, 400_000, 5) == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"slots": ()}, "slots are named"),
        ({"slots": ("headline", "headline")}, "each once"),
        ({"slots": ("nothing",)}, "no slot"),
        ({"slots": ("category",)}, "needs a closed list"),
        ({"labels": ("a",)}, "no slot takes them"),
        ({"variants": 2, "variety": 0.0}, "needs variety"),
        ({"budget": WriteBudget(money=1.0)}, "needs prices"),
        ({"instructions": (("title", "x"),)}, "no slot of the job"),
    ],
)
def test_what_makes_no_job_is_refused(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        WriteConfig(**({"slots": ("headline",)} | fields))


def test_each_slot_has_its_task_and_its_words() -> None:
    for name, slot in slots().items():
        assert slot.name == (name if name != "ad_text" else "description")
        assert slot.task.name == slot.task_name
        if slot.characters:
            assert f"at most {slot.characters} characters" in slot.instruction()
            assert "at most 17 characters" in slot.instruction(17)


def test_a_description_is_an_ad_on_a_platform() -> None:
    assert slot_named("description").task_name == "descriptions"
    assert slot_named("description", "google-rsa").task_name == "ads"
    assert slot_named("headline", "google-rsa") is slot_named("headline")


def test_an_unknown_slot_is_told_with_the_closest() -> None:
    with pytest.raises(ConfigError, match="did you mean headline"):
        slot_named("headlines")


def test_each_slot_has_the_limit_of_its_platform() -> None:
    google = WriteConfig(("headline", "description", "title"), platform="google-rsa")
    found = check_configs(google, brands=("Acme",))
    assert {name: one.limit for name, one in found.items()} == {
        "headline": "google.headline",
        "description": "google.description",
        "title": "",
    }
    assert found["title"].brands == frozenset(("Acme",))
    assert limit_of(google, slot_named("headline")) == 30
    assert limit_of(WriteConfig(("headline",)), slot_named("headline")) == 0
    meta = WriteConfig(("primary_text",), platform="meta")
    assert limit_of(meta, slot_named("primary_text")) == 125


@pytest.mark.parametrize("platform", get_args(WriterPlatform))
def test_all_limits_are_known(platform: WriterPlatform) -> None:
    config = WriteConfig(("headline",), platform=platform)
    names = [
        limit_name(config, slot_named(slot, platform)) for slot in slots() if slot != "ad_text"
    ]
    assert any(names)
    assert all(limit_named(name).most for name in names if name)


def test_the_voice_of_a_brand_is_read(tmp_path: Path) -> None:
    path = tmp_path / "voice.toml"
    path.write_text('tone = "calm"\nbanned = ["cheap"]\n')
    config = WriteConfig(("headline",), voice=path)
    assert "calm" in voice_text(config)
    voice = check_configs(config)["headline"].voice
    assert voice is not None
    assert voice.banned == ("cheap",)
    assert voice_text(WriteConfig(("headline",))) == ""
    path.write_text("tune = 1\n")
    with pytest.raises(ConfigError, match="tone"):
        check_configs(config)


MODEL = opened(Teller(lambda prompt, call: ""))
WORDS = ("warm", "calm", "mild", "soft", "bold", "neat", "fine", "good", "tall", "kind", "glad")


def fresh(prompt: str, call: int) -> str:
    """A whole text about the product, other than before."""
    found = re.search(r"Title: (.*)", prompt)
    said = f"Fresh {found[1] if found else ''} so {WORDS[call % len(WORDS)]}"
    return f"{said} is here {WORDS[call % 7]}." if "plain sentences" in prompt else said


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


KEY = ("p1", "headline", 0)


def draft(
    product: str = "p1",
    text: str = "Fresh tea",
    inputs: str = "1",
    slot: str = "headline",
    facts: str = "",
) -> Draft:
    return Draft(product, slot, 0, text, text, (), Provenance(inputs=inputs, product=facts))


def edit(text: str = "My own tea", product: str = "p1") -> ReviewDecision:
    return ReviewDecision(product, "headline", 0, "edit", text)


def test_a_text_goes_from_draft_to_decision_and_back(tmp_path: Path) -> None:
    clock = FixedClock(datetime(2026, 1, 1, tzinfo=UTC))
    with closing(Drafts.open(tmp_path, clock=clock)) as drafts:
        assert drafts.write([draft(), draft("p2")]) == ["written", "written"]
        assert [one.product for one in drafts.queue()] == ["p1", "p2"]
        drafts.decide(ReviewDecision(*KEY, "approve", reviewer="ann"))
        assert [one.product for one in drafts.queue()] == ["p2"]
        assert [one.product for one in drafts.queue(status=("approved",))] == ["p1"]
        drafts.decide(edit())
        assert (drafts.states()[KEY].status, drafts.text(KEY)) == ("edited", "My own tea")
        assert drafts.undo() == KEY
        assert (drafts.states()[KEY].status, drafts.text(KEY)) == ("approved", "Fresh tea")
        assert drafts.decision(KEY).time == "2026-01-01T00:00:00.000+00:00"
        drafts.undo(KEY)
        assert drafts.states()[KEY].status == "unreviewed"
        with pytest.raises(DataError, match="no decision to take back"):
            drafts.undo(KEY)
    with closing(Drafts.open(tmp_path, reading_only=True)) as again:
        assert [one.text for one in again.queue()] == ["Fresh tea", "Fresh tea"]
        assert again.states()[KEY].rounds == 1


def test_what_a_person_did_stands(tmp_path: Path) -> None:
    with closing(Drafts.open(tmp_path)) as drafts:
        drafts.write([draft(inputs="1"), draft("p2", inputs="1"), draft("p3", inputs="1")])
        drafts.decide(edit())
        drafts.decide(ReviewDecision("p2", "headline", 0, "approve"))
        drafts.decide(ReviewDecision("p3", "headline", 0, "reject"))
        same = [draft(one, "new", "1") for one in ("p1", "p2", "p3")]
        assert drafts.write(same) == ["human", "human", "same"]
        other_model = [draft(one, "new", "2") for one in ("p1", "p2", "p3")]
        assert drafts.write(other_model) == ["human", "human", "written"]
        changed = [draft(one, "new", "3", facts="changed") for one in ("p1", "p2", "p3")]
        assert drafts.write(changed) == ["human", "written", "written"]
        assert drafts.states()["p2", "headline", 0].status == "unreviewed"
        assert drafts.text(KEY) == "My own tea"
        assert drafts.write([draft(text="new", inputs="2")], over_edits=True) == ["written"]
        assert (drafts.text(KEY), drafts.states()[KEY].rounds) == ("new", 2)
        assert drafts.write([draft(text="newer", inputs="2")]) == ["same"]
        assert drafts.write([draft(text="newer", inputs="2")], again=True) == ["written"]
        assert drafts.write([draft("p9"), draft("p9", "second")]) == ["written", "same"]


def test_a_second_decision_on_what_was_seen_is_told(tmp_path: Path) -> None:
    with closing(Drafts.open(tmp_path)) as ann, closing(Drafts.open(tmp_path)) as bob:
        ann.write([draft()])
        bob.refresh()
        seen = bob.states()[KEY].version
        ann.decide(edit())
        with pytest.raises(DraftMoved, match="it is edited"):
            bob.decide(ReviewDecision(*KEY, "approve"), seen=seen)
        bob.decide(ReviewDecision(*KEY, "approve"), seen=bob.states()[KEY].version)
        ann.refresh()
        assert ann.states()[KEY].status == "approved"


def test_the_job_sees_an_edit_that_came_while_it_wrote(tmp_path: Path) -> None:
    with closing(Drafts.open(tmp_path)) as job, closing(Drafts.open(tmp_path)) as page:
        job.write([draft()])
        page.refresh()
        page.decide(edit())
        assert job.write([draft(text="new", inputs="2")]) == ["human"]


def test_the_queue_is_filtered(tmp_path: Path) -> None:
    finding = Finding("policy", 0, 4, "warning", "a superlative")
    with closing(Drafts.open(tmp_path)) as drafts:
        drafts.write(
            [draft(), draft(slot="description"), replace(draft("p2"), findings=(finding,))]
        )
        assert [one.slot for one in drafts.queue(slots=("description",))] == ["description"]
        assert [one.product for one in drafts.queue(with_findings=True)] == ["p2"]
        assert len(list(drafts.queue(with_findings=False))) == 2
        assert next(drafts.queue(with_findings=True)).findings == (finding,)


def test_failures_products_and_jobs_are_kept(tmp_path: Path) -> None:
    tea = Product("p1", "Tea")
    with closing(Drafts.open(tmp_path)) as drafts:
        drafts.fail([RowFailure(*KEY, "no answer", "1", 3)])
        drafts.note_products([(tea, "a")])
        drafts.note_products([(tea, "a"), (Product("p2", "Cup"), "b")])
        drafts.note_job("j", {"seed": 1})
        drafts.note_job("j", {"seed": 1})
    assert (tmp_path / JOURNAL).read_text().count("\n") == 4
    with closing(Drafts.open(tmp_path)) as drafts:
        assert [one.reason for one in drafts.failures()] == ["no answer"]
        assert (drafts.product("p1"), drafts.product("p9")) == (tea, None)
        assert (drafts.job("j"), drafts.job("k"), drafts.jobs()) == ({"seed": 1}, None, ["j"])
        drafts.write([draft()])
        assert drafts.failures() == []


@given(st.lists(st.tuples(st.sampled_from("adeuf"), st.integers(0, 2)), max_size=25))
@settings(max_examples=40, deadline=None)
def test_the_states_are_those_of_a_slow_reading(
    tmp_path_factory: pytest.TempPathFactory, events: list[tuple[str, int]]
) -> None:
    """Against a literal list of what happened to each text; the file read anew says the same."""
    folder = tmp_path_factory.mktemp("j")
    expected: dict[str, list[str]] = {}
    with closing(Drafts.open(folder)) as drafts:
        for number, (kind, which) in enumerate(events):
            product = f"p{which}"
            stack = expected.get(product)
            if kind == "d":
                if drafts.write([draft(product, inputs=str(number))]) == ["written"]:
                    expected[product] = []
            elif stack is not None and kind in "ae":
                own = ReviewDecision(product, "headline", 0, "approve")
                drafts.decide(own if kind == "a" else edit(product=product))
                stack.append("approved" if kind == "a" else "edited")
            elif stack and kind == "u":
                drafts.undo((product, "headline", 0))
                stack.pop()
        states = {key[0]: one.status for key, one in drafts.states().items()}
    wanted = {one: (stack[-1] if stack else "unreviewed") for one, stack in expected.items()}
    assert states == wanted
    with closing(Drafts.open(folder)) as again:
        assert {key[0]: one.status for key, one in again.states().items()} == wanted


def test_many_threads_write_and_decide_at_once(tmp_path: Path) -> None:
    with closing(Drafts.open(tmp_path)) as drafts, closing(Drafts.open(tmp_path)) as other:

        def work(one: Drafts, name: str) -> None:
            for number in range(50):
                one.write([draft(f"{name}{number}")])
                one.decide(edit(product=f"{name}{number}"))

        threads = [
            threading.Thread(target=work, args=(one, name))
            for one, name in ((drafts, "a"), (drafts, "b"), (other, "c"), (other, "d"))
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        drafts.refresh()
        assert len(drafts.states()) == 200
        assert {one.status for one in drafts.states().values()} == {"edited"}


def test_a_broken_line_is_named(tmp_path: Path) -> None:
    with pytest.raises(ResourceError, match="no journal"):
        Drafts.open(tmp_path, reading_only=True)
    (tmp_path / JOURNAL).write_text("nonsense\n")
    with pytest.raises(FileUnreadableError, match="line 1 cannot be read"):
        Drafts.open(tmp_path)
    (tmp_path / JOURNAL).write_text('{"later":["p",1]}\n')
    with pytest.raises(FileUnreadableError, match="line 1 cannot be read"):
        Drafts.open(tmp_path)
    (tmp_path / JOURNAL).write_text('{"draft":["p1","headline",0,"i",0,0,"x"],"text":7x}\n')
    with closing(Drafts.open(tmp_path)) as drafts:
        with pytest.raises(FileUnreadableError, match="line 1 cannot be read"):
            drafts.text(KEY)
        with pytest.raises(DataError, match="no draft of"):
            drafts.text(("p2", "headline", 0))


def test_a_long_journal_opens_quickly(tmp_path: Path) -> None:
    """A fiftieth of a million lines; the bound is ten times what it takes."""
    line = (
        '{"draft":["p%d","headline",0,"0123456789abcdef",0,1,"x"],"text":"%s","by":{"model":"m"}}\n'
    )
    text = "Fresh tea " * 30
    path = tmp_path / JOURNAL
    path.write_text("".join(line % (number, text) for number in range(20_000)))
    start = time.process_time()
    with closing(Drafts.open(tmp_path)) as drafts:
        took = time.process_time() - start
        assert len(drafts.states()) == 20_000
        assert drafts.draft(("p19999", "headline", 0)).text == text
    assert took < 2


TEXT = st.text(st.characters(exclude_categories=("Cs",)), max_size=30)
NAME = TEXT.filter(bool)


@given(NAME, NAME, st.integers(0, 9), TEXT, TEXT)
def test_a_draft_comes_back_out_of_its_line(
    product: str, slot: str, variant: int, text: str, before: str
) -> None:
    finding = Finding("grounding", 0, 4, "error", "not in the facts", "")
    by = Provenance(
        "m", "a", seed=3, inputs="4f", product="99", prompt_tokens=7, seconds=0.5, attempts=2
    )
    draft = Draft(product, slot, variant, text, before, (finding,), by, (("query", text),))
    line = draft_line(draft)
    assert line.count(b"\n") == 1
    assert draft_of(json.loads(line)) == draft
    assert json.loads(line)["draft"] == [product, slot, variant, "4f", 1, 0, "99"]


def test_a_decision_a_failure_and_a_product_come_back() -> None:
    edit = ReviewDecision("p", "headline", 1, "edit", "Tea", ("wrong size",), "ann", "2026-01-01")
    assert decision_of(json.loads(decision_line(edit))) == edit
    failure = RowFailure("p", "headline", 1, "no answer", "4f", 3, "2026-01-01")
    assert failure_of(json.loads(failure_line(failure))) == failure
    product = Product("p", "Tea", price="3.49", currency="GBP", attributes=(("size", "80 bags"),))
    assert product_of(json.loads(product_line(product, "99"))) == product


def test_what_the_head_lacks_is_refused() -> None:
    with pytest.raises(ConfigError, match="product and a slot"):
        Draft("", "headline", 0, "x")
    with pytest.raises(ConfigError, match="product and a slot"):
        ReviewDecision("p", "", 0, "approve")
    with pytest.raises(ConfigError, match="variant"):
        Draft("p", "headline", -1, "x")
    with pytest.raises(ConfigError, match="edit needs a text"):
        ReviewDecision("p", "headline", 0, "edit", " ")
    with pytest.raises(ConfigError, match="kind"):
        ReviewDecision("p", "headline", 0, "maybe")  # type: ignore[arg-type]


def test_half_a_character_does_not_break_a_line() -> None:
    line = draft_line(Draft("p", "headline", 0, "a\ud800b"))
    assert draft_of(json.loads(line)).text == "a?b"


RECIPES = {"headline": "r", "description": "r", "title": "r", "category": "r"}


def plan(folder: Path, drafts: Drafts | None = None, **fields: Any) -> WritePlan:
    config = WriteConfig(**({"slots": ("headline",)} | fields))
    return make_plan(table_of(folder, "Tea", "Cup"), config, RECIPES, drafts)


def written(row: WriteRow) -> Draft:
    by = Provenance(inputs=row.inputs, product=row.product_hash)
    return Draft(*row.key, "x", "x", (), by)


def test_a_row_is_a_text(tmp_path: Path) -> None:
    found = plan(tmp_path, slots=("headline", "description"), variants=2)
    assert [row.key for row in found.rows][:4] == [
        ("p0", "headline", 0),
        ("p0", "headline", 1),
        ("p0", "description", 0),
        ("p0", "description", 1),
    ]
    assert (len(found.rows), found.products) == (8, 2)
    assert len({row.inputs for row in found.rows}) == 8


def test_what_is_there_is_not_planned_again(tmp_path: Path) -> None:
    rows = plan(tmp_path).rows
    with closing(Drafts.open(tmp_path / "out")) as drafts:
        drafts.write([written(row) for row in rows])
        assert plan(tmp_path, drafts) == WritePlan((), 2, 0, 2)
        drafts.decide(ReviewDecision(*rows[0].key, "edit", "Mine"))
        drafts.decide(ReviewDecision(*rows[1].key, "reject"))
        assert plan(tmp_path, drafts).human == 1
        assert [row.key for row in plan(tmp_path, drafts, again=True).rows] == [rows[1].key]
        # Another recipe: all but what a person edited.
        config = WriteConfig(("headline",))
        other = make_plan(table_of(tmp_path, "Tea", "Cup"), config, {"headline": "s"}, drafts)
        assert ([row.key for row in other.rows], other.human) == ([rows[1].key], 1)
        over = plan(tmp_path, drafts, over_edits=True)
        assert (over.same, over.human) == (2, 0)


def test_a_changed_product_is_planned_anew(tmp_path: Path) -> None:
    rows = plan(tmp_path).rows
    with closing(Drafts.open(tmp_path / "out")) as drafts:
        drafts.write([written(row) for row in rows])
        table = table_of(tmp_path, "Green tea", "Cup")
        found = make_plan(table, WriteConfig(("headline",)), RECIPES, drafts)
        assert [row.key for row in found.rows] == [("p0", "headline", 0)]


def test_values_come_from_the_job_and_from_columns(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("id,title,search\n1,Tea,green tea\n2,Cup,\n")
    table = read_products(path)
    config = WriteConfig(
        ("title", "headline"),
        values=(("occasion", "Easter"),),
        value_columns=(("query", "search"),),
    )
    rows = {row.key: row for row in make_plan(table, config, RECIPES).rows}
    assert rows["1", "title", 0].request(()).values == (("query", "green tea"),)
    assert rows["1", "headline", 0].request(()).values == (("occasion", "Easter"),)
    with pytest.raises(ValueInvalidError, match="needs query"):
        rows["2", "title", 0].request(())
    wrong = WriteConfig(("title",), value_columns=(("query", "serach"),))
    with pytest.raises(SchemaError, match="no column 'serach'"):
        make_plan(table, wrong, RECIPES)
    labelled = WriteConfig(("category",), labels=("a", "b"))
    row = make_plan(table, labelled, RECIPES).rows[0]
    assert row.request(labelled.labels).labels == ("a", "b")


def test_a_larger_sample_holds_a_smaller_one(tmp_path: Path) -> None:
    table = table_of(tmp_path, count=50)

    def sample(number: int, seed: int = 0) -> list[str]:
        config = WriteConfig(("headline",), sample=number, seed=seed)
        return [row.product.id for row in make_plan(table, config, RECIPES).rows]

    assert len(sample(5)) == 5
    assert set(sample(5)) < set(sample(9))
    assert sample(5) != sample(5, seed=1)
    assert len(sample(99)) == 50


def test_the_last_decision_that_stands_says_what_a_text_is() -> None:
    state = TextState(("p", "headline", 0))
    state.drafted((0, 10), ["p", "headline", 0, "i", 1, 2, "x"])
    assert (state.status, state.decision_place, state.draft_place) == ("unreviewed", None, (0, 10))
    assert (state.inputs, state.errors, state.warnings, state.product_hash) == ("i", 1, 2, "x")
    state.decided((10, 5), "approve")
    state.decided((15, 5), "reject")
    assert (state.status, state.decision_place, state.version) == ("rejected", (15, 5), 15)
    state.undone((20, 5))
    assert (state.status, state.decision_place, state.version) == ("approved", (10, 5), 20)
    state.drafted((25, 10), ["p", "headline", 0, "j", 0, 0, "x"])
    assert (state.status, state.rounds, state.version) == ("unreviewed", 2, 25)


SHOPIFY = (
    "Handle,Title,Body (HTML),Vendor,Variant SKU,Variant Price\n"
    "tea,Tea,<p>Old</p>,Acme,T1,10.00\npot,Pot,,Acme,P1,9.00\n"
)


@pytest.fixture
def out(tmp_path: Path) -> Path:
    (tmp_path / "shop.csv").write_text(SHOPIFY)
    table = read_products(tmp_path / "shop.csv")
    run_job(
        table,
        tmp_path / "out",
        WriteConfig(("description", "headline"), by="free", variants=2),
        opened(Teller(fresh)),
    )
    with closing(Drafts.open(tmp_path / "out")) as drafts:
        drafts.decide(ReviewDecision("tea", "description", 0, "approve"))
        drafts.decide(ReviewDecision("pot", "headline", 0, "reject"))
        drafts.decide(ReviewDecision("pot", "headline", 1, "edit", "My pot"))
    return tmp_path / "out"


def test_approved_texts_go_into_the_shops_table(out: Path, tmp_path: Path) -> None:
    path = tmp_path / "new.csv"
    done = export_texts(out, path)
    assert (done.texts, done.changed, done.missing) == (2, 2, ())
    lines = path.read_text().splitlines()
    assert lines[0] == "Handle,Title,Body (HTML),Vendor,Variant SKU,Variant Price,headline_1"
    assert "<p>Old" not in lines[1]
    assert lines[2].endswith(",My pot")


def test_all_are_those_that_nobody_rejected(out: Path, tmp_path: Path) -> None:
    with closing(Drafts.open(out)) as drafts:
        assert sum(map(len, texts_of(drafts, "all").values())) == 7
        assert texts_of(drafts, "all")["pot", "headline"] == ["My pot"]
    assert export_texts(out, tmp_path / "new.csv", which="all").texts == 7


def test_the_difference_is_told_before(out: Path) -> None:
    found = list(changes_in(out))
    assert [(one.product, one.column, one.before) for one in found] == [
        ("tea", "Body (HTML)", "<p>Old</p>"),
        ("pot", "headline_1", ""),
    ]


def test_an_export_is_taken_back(out: Path, tmp_path: Path) -> None:
    path = tmp_path / "new.csv"
    export_texts(out, path)
    assert undo_export(out) == path.resolve()
    assert not path.exists()
    with pytest.raises(DataError, match="no export to take back"):
        undo_export(out)
    path.write_text("mine")
    export_texts(out, path)
    undo_export(out)
    assert path.read_text() == "mine"
    export_texts(out, path)
    path.write_text("changed since")
    with pytest.raises(ResourceError, match="changed since"):
        undo_export(out)


def test_a_table_that_has_moved_is_named(out: Path, tmp_path: Path) -> None:
    (tmp_path / "shop.csv").rename(tmp_path / "moved.csv")
    with pytest.raises(DataError, match="--products"):
        export_texts(out, tmp_path / "new.csv")
    (tmp_path / "moved.csv").write_text(SHOPIFY.replace("pot,", "can,"))
    done = export_texts(out, tmp_path / "new.csv", products=tmp_path / "moved.csv")
    assert done.missing == ("pot",)


def test_without_a_decision_there_is_nothing_to_export(tmp_path: Path) -> None:
    (tmp_path / "shop.csv").write_text(SHOPIFY)
    run_job(
        read_products(tmp_path / "shop.csv"),
        tmp_path / "out",
        WriteConfig(("headline",), by="free"),
        opened(Teller(fresh)),
    )
    with pytest.raises(DataError, match="no approved text"):
        export_texts(tmp_path / "out", tmp_path / "new.csv")


def test_texts_are_ads_that_can_be_judged_and_sold(out: Path, tmp_path: Path) -> None:
    with closing(Drafts.open(out)) as drafts:
        drafts.decide(ReviewDecision("tea", "headline", 0, "edit", "My tea", reviewer="Ann"))
        approved, ads = creatives_of(drafts), creatives_of(drafts, "all")
    draft, edited = (one for one in approved if one.item_id == "tea")
    assert draft.headline.startswith("Fresh ")
    assert (draft.state, edited.state) == ("draft", "approved")
    assert (edited.headline, edited.parent) == ("My tea", draft.creative_id)
    assert (edited.maker, edited.label, draft.label) == ("person:Ann", "AI", "AI")
    assert edited.description == draft.description
    assert {one.state for one in ads} == {"draft", "in review", "approved"}
    write_creatives(tmp_path / "ads.parquet", ads)
    table = read_ads(tmp_path / "ads.parquet")
    assert table.ids == tuple(one.creative_id for one in ads)
    assert table.records[0] == AdRecord.of(ads[0])
    assert read_creatives(tmp_path / "ads.parquet")["item_id"].to_list().count("tea") == 3


def test_an_edit_that_says_the_same_and_ads_that_say_the_same_are_one(
    out: Path, tmp_path: Path
) -> None:
    with closing(Drafts.open(out)) as drafts:
        said = drafts.text(("tea", "headline", 0))
        drafts.decide(ReviewDecision("tea", "headline", 0, "edit", said, reviewer="Ann"))
        drafts.decide(ReviewDecision("tea", "headline", 1, "edit", said, reviewer="Ann"))
        drafts.decide(ReviewDecision("tea", "description", 0, "reject"))
        drafts.decide(ReviewDecision("tea", "description", 1, "reject"))
        ads = [one for one in creatives_of(drafts) if one.item_id == "tea"]
    assert next((one.headline, one.parent) for one in ads if not one.parent) == (said, "")
    assert len({one.creative_id for one in ads}) == len(ads)
    write_creatives(tmp_path / "ads.parquet", ads)


def test_tokens_are_guessed_from_characters() -> None:
    assert guessed_tokens((Message("user", "a" * 40),)) == 15
    assert guessed_tokens((Message("user", "茶" * 30),)) == 25


def test_what_a_job_would_do_is_told(tmp_path: Path) -> None:
    table, writer = table_of(tmp_path, "Tea", "Cup"), LmSpec("teller")
    prices = WriterPrices(prompt=1e6, answer=1e6)
    config = replace(CONFIG, slots=("headline", "title"), prices=prices)
    found = rehearse(table, tmp_path / "out", config, writer)
    assert (found.texts, found.unasked, found.products) == (2, 2, 2)
    assert found.cost == found.prompt_tokens + found.answer_tokens > 100
    assert "query" in found.facts()["would fail"]
    assert not (tmp_path / "out").exists()
    run_job(table, tmp_path / "out", CONFIG, opened(Teller(fresh)))
    after = rehearse(table, tmp_path / "out", CONFIG, writer)
    assert (after.texts, after.same) == (0, 2)
    with pytest.raises(ConfigError, match="another seed"):
        rehearse(table, tmp_path / "out", replace(CONFIG, seed=1), writer)
    with pytest.raises(AssetError, match="no adapter"):
        rehearse(table, tmp_path / "out", CONFIG, LmSpec(adapter=str(tmp_path)))
