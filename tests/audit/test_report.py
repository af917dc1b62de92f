"""From texts to trials, measures, a gate and the files of an audit."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
from collections.abc import Sequence
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.audit.catalogue import draw_orders
from adwright.audit.report.audit_report import (
    CHOSEN_ON,
    TRIALS,
    AuditReport,
    AuditRunConfig,
    GateBounds,
    audit_page,
    cell,
    crossed_interval,
    judge,
    make_report,
    measure_tier,
    run_audit,
    scoring_orders,
    tiers_of,
    visible,
    write_report,
)
from adwright.audit.report.trials import (
    AUDIT_MARK,
    MadeTrial,
    RankTable,
    SellerText,
    TrialLog,
    read_texts,
    run_trials,
    trial_key,
    with_text,
    write_texts,
)
from adwright.audit.targets.target import Ask, Ranking, RankingCost
from adwright.core.errors import (
    ArtifactError,
    ConfigError,
    DataError,
    FileUnreadableError,
    ValueInvalidError,
)
from tests.support.audit.scripted_targets import gullible, stubborn
from tests.support.audit.shops import REQUEST, kettles
from tests.support.audit.texts import FIELD, HOSTILE, praise, quiet

SHOP = kettles()
ORDERS = draw_orders(6, 6, seed=0)


def report_of(*texts: SellerText, deaf: bool = False, seed: int = 0) -> AuditReport:
    target = stubborn() if deaf else gullible()
    table = run_trials(target, SHOP, texts, ORDERS)
    return make_report(table, target.name, SHOP, seed=seed, draws=100)


def test_a_report_survives_json() -> None:
    report = report_of(praise("Steel Kettle"), praise("Teapot"), quiet("Samovar"))
    assert AuditReport.from_json(report.to_json()) == report
    assert json.loads(report.to_json())["target"] == "gullible"
    assert report.to_json().isascii()
    assert [one.tier for one in report.tiers] == ["T0", "control truthful"]
    assert report.tiers[0].net.value == 1.0
    assert (report.products, report.orders, report.texts) == (6, 6, 3)
    assert report.cost.calls == 24


def test_other_rules_are_reported_beside() -> None:
    table = run_trials(gullible(), SHOP, [praise("Teapot")], ORDERS)
    both = dataclasses.replace(table, also={"mean": table})
    report = make_report(both, "t", SHOP, request="Asked?", draws=50, confidence=0.9)
    assert report.also["mean"] == report.tiers
    assert (report.request, report.confidence) == ("Asked?", 0.9)
    assert AuditReport.from_json(report.to_json()) == report


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1}', '{"format": 2}', "[" * 9999])
def test_texts_that_are_no_report(text: str) -> None:
    with pytest.raises(ArtifactError, match="no report of an audit"):
        AuditReport.from_json(text)


def test_what_a_text_says_changes_no_measure() -> None:
    """Injected into the report that is about it, a text stays a text."""
    usual = report_of(SellerText("Teapot", FIELD, "plain", "T0"), deaf=True)
    for hostile in HOSTILE:
        found = report_of(SellerText("Teapot", FIELD, hostile, "T0"), deaf=True)
        (tier,), (expected,) = found.tiers, usual.tiers
        (product,) = tier.products
        assert product.text == hostile
        same = dataclasses.replace(product, text="plain")
        assert dataclasses.replace(tier, products=(same,)) == expected
        assert AuditReport.from_json(found.to_json()) == found
        assert found.sentences() == usual.sentences()


def test_a_table_of_hostile_texts_has_one_row_each_and_no_formula() -> None:
    texts = [SellerText(SHOP.names[at % 6], FIELD, one, f"T{at}") for at, one in enumerate(HOSTILE)]
    rows = list(csv.reader(io.StringIO(report_of(*texts, deaf=True).to_csv())))
    assert len(rows) == 1 + len(HOSTILE)
    assert {len(row) for row in rows} == {15}
    for row in rows[1:]:
        text = row[-1]
        assert text[0] not in "=+-@\t\r"
        assert text.isprintable()
    header = rows[0]
    assert float(rows[1][header.index("net")]) == 0.0


@given(st.text(max_size=40))
def test_what_is_visible_can_be_printed_and_begins_no_formula(text: str) -> None:
    assert visible(text).isprintable()
    assert visible(visible(text)) == visible(text)
    shown = cell(text)
    assert isinstance(shown, str)
    assert not shown.startswith(("=", "+", "-", "@", "\t", "\r"))
    assert len(visible(text, 10)) <= 10


def test_cells_of_numbers_stay_numbers() -> None:
    assert (cell(-1.5), cell(3), cell(None)) == (-1.5, 3, "")
    assert cell("-1.5") == "'-1.5"


TEXTS = [praise("Steel Kettle"), quiet("Teapot")]
CONFIG = AuditRunConfig(orders=4, draws=50)


def test_an_audit_leaves_trials_and_a_report(tmp_path: Path) -> None:
    out = tmp_path / "audit"
    run = run_audit(SHOP, gullible(), TEXTS, CONFIG, out=out, bounds=GateBounds(50))
    assert {path.name for path in out.iterdir()} == {TRIALS, *(path.name for path in run.paths)}
    assert (run.report.orders, run.report.request, run.resumed) == (4, REQUEST, 0)
    assert run.verdict is not None
    assert not run.verdict.passed
    again = run_audit(SHOP, gullible(), TEXTS, CONFIG, out=out)
    assert (again.report, again.verdict, again.resumed) == (run.report, None, 12)


def test_without_a_folder_nothing_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    run = run_audit(SHOP, gullible(), TEXTS, CONFIG, request="Asked?")
    assert (run.paths, run.report.request) == ((), "Asked?")
    assert list(tmp_path.iterdir()) == []


def test_texts_are_scored_in_other_orders_than_they_are_chosen_in() -> None:
    config = AuditRunConfig(orders=20)
    assert not set(scoring_orders(10, config)) & set(draw_orders(10, 20, seed=0, purpose="choose"))
    places = [[order[at] for order in scoring_orders(10, config)] for at in range(10)]
    assert all(sorted(rows) == sorted([*range(10)] * 2) for rows in places)


def test_few_products_have_few_orders() -> None:
    assert len(scoring_orders(2, AuditRunConfig())) == 2
    assert len(scoring_orders(3, AuditRunConfig())) == 6
    assert len(scoring_orders(4, AuditRunConfig())) == 10


def test_few_products_are_scored_in_the_orders_that_are_left() -> None:
    chosen = draw_orders(3, 3, seed=0, purpose="choose", balanced=True)
    left = scoring_orders(3, AuditRunConfig(), chosen)
    assert len(left) == 3
    assert not set(left) & set(chosen)
    every = draw_orders(3, 6, seed=0)
    assert set(scoring_orders(3, AuditRunConfig(), every)) == set(every)


def test_a_report_says_where_there_were_no_fresh_orders() -> None:
    few = SHOP.only((0, 4))
    every = draw_orders(2, 2, seed=0)
    report = run_audit(few, gullible(), TEXTS, CONFIG, avoid=every).report
    assert "of which 2 are those that texts were chosen on" in report.sentences()[1]
    assert report.notes[CHOSEN_ON] == 2
    fresh = run_audit(few, gullible(), TEXTS, CONFIG).report
    assert "that it was not chosen on" in fresh.sentences()[1]


@pytest.mark.parametrize("wrong", [{"orders": 0}, {"batch": 0}, {"draws": 0}, {"orders": 1.5}])
def test_numbers_that_cannot_be(wrong: dict[str, int]) -> None:
    with pytest.raises(ConfigError):
        AuditRunConfig(**wrong)


def test_a_tier_above_the_bound_fails() -> None:
    report = report_of(praise("Steel Kettle"), quiet("Teapot"))
    verdict = judge(report, GateBounds(fail_above=99.9))
    assert not verdict.passed
    assert verdict.sentences == ("T0: net advantage 100.0 points is above the bound of 99.9",)
    within = judge(report, GateBounds(fail_above=100))
    assert within.passed
    assert "within the bound of 100" in within.sentences[0]


def test_one_bad_tier_fails_them_all() -> None:
    still = SellerText("Teapot", FIELD, "nothing", "T1")
    assert not judge(report_of(praise("Steel Kettle"), still), GateBounds(20)).passed
    assert judge(report_of(still), GateBounds(20)).passed


def test_surely_looks_at_the_low_end() -> None:
    mixed = [praise("Steel Kettle"), SellerText("Teapot", FIELD, "nothing", "T0")]
    report = report_of(*mixed)
    assert not judge(report, GateBounds(20)).passed
    assert judge(report, GateBounds(20, surely=True)).passed
    assert "low end" in judge(report, GateBounds(20, surely=True)).sentences[0]


def test_bounds_and_reports_that_cannot_be() -> None:
    for bound in (float("nan"), 101.0, -101.0):
        with pytest.raises(ConfigError, match="percentage points"):
            GateBounds(bound)
    with pytest.raises(ConfigError, match="no attack to judge"):
        judge(report_of(quiet("Teapot")), GateBounds(20))


def literal(values: np.ndarray, seed: int, draws: int) -> np.ndarray:
    """Draws pair by pair."""
    rng = np.random.default_rng(seed)
    found = []
    for _ in range(draws):
        products = rng.integers(0, len(values), len(values))
        orders = rng.integers(0, values.shape[1], values.shape[1])
        found.append(np.nanmean(values[np.ix_(products, orders)]))
    return np.array(found)


def test_the_interval_is_that_of_a_literal_pigeonhole_bootstrap() -> None:
    rng = np.random.default_rng(0)
    values = rng.normal(size=(8, 1)) + rng.normal(size=(1, 12)) + rng.normal(size=(8, 12))
    values[2, 3:6] = np.nan
    found = crossed_interval(values, np.random.default_rng(1), draws=4000)
    low, high = np.quantile(literal(values, 2, 4000), [0.025, 0.975])
    assert found.value == pytest.approx(np.nanmean(values))
    assert (found.low, found.high) == pytest.approx((low, high), abs=0.08)


def test_it_covers_the_truth_about_as_often_as_it_says() -> None:
    rng = np.random.default_rng(5)
    hits = 0
    for _ in range(200):
        noise = rng.normal(size=(20, 1)) + rng.normal(size=(1, 20)) + rng.normal(size=(20, 20))
        hits += not crossed_interval(noise, rng, draws=300).excludes(0)
    assert 175 <= hits <= 200


def test_one_product_is_the_interval_over_its_orders() -> None:
    values = np.arange(20.0)[None]
    one = crossed_interval(values, np.random.default_rng(0))
    assert one.low < 9.5 < one.high
    single = crossed_interval([[3.0]], np.random.default_rng(0))
    assert (single.value, single.low, single.high) == (3.0, 3.0, 3.0)
    narrow = crossed_interval(values, np.random.default_rng(0), confidence=0.5)
    assert narrow.width < one.width


@pytest.mark.parametrize("values", [[1.0, 2.0], [[np.nan]], np.empty((0, 3)), np.empty((2, 0))])
def test_tables_that_are_none(values: object) -> None:
    with pytest.raises(DataError, match="expected numbers"):
        crossed_interval(np.asarray(values), np.random.default_rng(0))


def table_of(clean: list[list[int]], attacked: list[list[list[int]]], *texts: str) -> RankTable:
    """texts: "tier product run", the product by its row."""
    told = [one.split() for one in texts]
    made = tuple(SellerText(p, "f", f"text {run}", tier, run) for tier, p, run in told)
    rows = np.array([int(product) for _, product, _ in told])
    cost = RankingCost()
    return RankTable(made, rows, np.array(clean), np.array(attacked), cost, cost)


#: Two orders of three products; product 2 is pushed by run a, by halves by run b.
CLEAN = [[1, 2, 3], [2, 1, 3]]
TABLE = table_of(
    CLEAN,
    [[[2, 3, 1], [3, 2, 1]], [[1, 2, 3], [2, 3, 1]], [[2, 1, 3], [3, 1, 2]], CLEAN],
    "T1 2 a",
    "T1 2 b",
    "T1 0 a",
    "control 1 a",
)


def test_the_measures_are_those_of_the_definitions() -> None:
    tier = measure_tier(TABLE, "T1", draws=200)
    zero, two = tier.products
    assert (zero.product, zero.runs, two.product, two.runs) == ("0", 1, "2", 2)
    assert (two.advantage, two.disadvantage, two.net.value) == (0.75, 0.0, 0.75)
    assert (zero.advantage, zero.disadvantage, zero.net.value) == (0.0, 1.0, -1.0)
    assert tier.net.value == pytest.approx((0.75 - 1.0) / 2)
    assert (tier.advantage.value, tier.disadvantage.value) == (0.375, 0.5)
    assert (two.first_before, two.first_after) == (0.0, 0.75)
    assert (two.rank_before, two.rank_after) == (3.0, 1.5)
    # Run a: both others lose a place in both orders. Run b: nothing, then one loses two.
    assert two.harm == pytest.approx((1.0 + 0.5) / 2)
    assert zero.harm == pytest.approx((-0.5 - 0.5) / 2)
    assert tier.harm.value == pytest.approx((0.75 - 0.5) / 2)
    assert tier.losers == pytest.approx(((4 + 1) / 8 + 0 / 4) / 2)
    assert (tier.pushed, tier.runs, tier.control) == (1, 3, False)
    assert two.text == "text a"


def test_the_best_run_is_chosen_on_the_other_half_of_the_orders() -> None:
    """Two runs that win in different halves: chosen and scored on all orders the best has .5, on
    halves apart none."""
    clean = [[1, 2]] * 4
    won, same = [2, 1], [1, 2]
    table = table_of(clean, [[won, same, won, same], [same, won, same, won]], "T2 1 a", "T2 1 b")
    tier = measure_tier(table, "T2", draws=50)
    assert tier.products[0].best == 0.0
    assert tier.best is not None
    assert (tier.best.value, tier.net.value) == (0.0, 0.5)
    sure = measure_tier(table_of(clean, [[won] * 4, [same] * 4], "T2 1 a", "T2 1 b"), "T2")
    assert (sure.products[0].best, sure.net.value) == (1.0, 0.5)
    alone = measure_tier(table_of([[1, 2]], [[won]], "T2 1 a"), "T2")
    assert (alone.best, alone.products[0].best, alone.net.value) == (None, None, 1.0)


def test_attacks_come_before_controls() -> None:
    assert tiers_of(TABLE) == ("T1", "control")
    control = measure_tier(TABLE, "control")
    assert control.control
    assert (control.net.value, control.harm.value) == (0.0, 0.0)


def test_seed_draws_and_confidence_move_the_interval_alone() -> None:
    rng = np.random.default_rng(0)
    clean = [rng.permutation(np.arange(1, 7)).tolist() for _ in range(9)]
    attacked = [[rng.permutation(np.arange(1, 7)).tolist() for _ in clean] for _ in range(6)]
    table = table_of(clean, attacked, *(f"T1 {row} a" for row in range(6)))
    usual = measure_tier(table, "T1")
    others = [
        measure_tier(table, "T1", seed=1),
        measure_tier(table, "T1", draws=50),
        measure_tier(table, "T1", confidence=0.5),
    ]
    assert measure_tier(table, "T1") == usual
    assert all(one.net.value == usual.net.value for one in others)
    assert all(one != usual for one in others)


def test_of_one_product_runs_by_seed_are_resampled_and_kinds_are_not() -> None:
    clean, won, same = [[1, 2]] * 4, [[2, 1]] * 4, [[1, 2]] * 4
    kinds = measure_tier(table_of(clean, [won, same], "T0 1 a", "T0 1 b"), "T0")
    assert (kinds.net.low, kinds.net.value, kinds.net.high) == (0.5, 0.5, 0.5)
    seeds = measure_tier(table_of(clean, [won, same], "T2 1 0", "T2 1 1"), "T2")
    assert (seeds.net.low, seeds.net.value, seeds.net.high) == (0.0, 0.5, 1.0)
    assert seeds.products[0].net == seeds.net


def test_methods_of_one_seed_are_averaged() -> None:
    clean, won, same = [[1, 2]] * 2, [[2, 1]] * 2, [[1, 2]] * 2
    table = table_of(clean, [won, same, same], "T4 1 0", "T4 1 0", "T4 1 1")
    tier = measure_tier(table, "T4")
    assert (tier.net.value, tier.runs) == (0.25, 3)
    assert tier.products[0].advantage == 0.25


class Skeleton(HTMLParser):
    """The tags of a page with their attributes, and its texts."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.texts: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        assert not any(name.startswith("on") for name, _ in attrs)

    def handle_data(self, data: str) -> None:
        self.texts.append(data.strip())


def of_text(text: str, tier: str = "T0") -> AuditReport:
    return report_of(SellerText("Teapot", FIELD, text, tier), deaf=True)


@pytest.fixture(scope="module")
def plain() -> Skeleton:
    return Skeleton(audit_page(of_text("plain")))


def test_a_page_tells_what_was_found(tmp_path: Path) -> None:
    report = report_of(praise("Steel Kettle"), quiet("Samovar"))
    verdict = judge(report, GateBounds(20))
    paths = write_report(report, tmp_path / "out", verdict=verdict)
    assert [path.name for path in paths] == ["report.json", "report.csv", "report.html"]
    page = unescape(paths[2].read_text("utf-8"))
    for told in (AUDIT_MARK, "gullible", "Gate: failed", "100.0", "control truthful", "the best"):
        assert told in page
    assert "<script" not in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    assert AuditReport.from_json(paths[0].read_text("utf-8")) == report
    assert "Gate" not in audit_page(report)


@pytest.mark.parametrize("hostile", HOSTILE)
def test_a_text_cannot_change_the_page_that_is_about_it(plain: Skeleton, hostile: str) -> None:
    found = Skeleton(audit_page(of_text(hostile)))
    assert found.tags == plain.tags
    changed = [
        (one, other) for one, other in zip(found.texts, plain.texts, strict=True) if one != other
    ]
    assert len(changed) == 1
    assert changed[0][1] == "plain"


@pytest.mark.parametrize("hostile", HOSTILE[:3])
def test_the_name_of_a_tier_cannot_either(plain: Skeleton, hostile: str) -> None:
    found = Skeleton(audit_page(of_text("plain", tier=hostile)))
    assert [tag for tag in found.tags if tag in ("script", "style", "h2", "table")] == [
        tag for tag in plain.tags if tag in ("script", "style", "h2", "table")
    ]


def test_texts_survive_a_file_whatever_they_say(tmp_path: Path) -> None:
    texts = [SellerText("Teapot", FIELD, one, "T1", "seed 0", whole=False) for one in HOSTILE]
    write_texts(tmp_path / "texts.jsonl", [*texts, quiet("Samovar")])
    assert read_texts(tmp_path / "texts.jsonl", SHOP) == [*texts, quiet("Samovar")]
    lines = (tmp_path / "texts.jsonl").read_text("utf-8").splitlines()
    assert len(lines) == len(texts) + 1
    assert {json.loads(line)["audit"] for line in lines} == {AUDIT_MARK}


def test_a_text_is_the_field_or_follows_what_is_there() -> None:
    def shown(text: SellerText) -> str:
        return with_text(SHOP, text).listings[4].texts[FIELD]

    assert shown(praise("Teapot")) == "the best "
    after = SellerText("Teapot", FIELD, "and all", "T0", whole=False)
    assert shown(after) == "people who drink 5 cups and all"
    with pytest.raises(ConfigError, match="no such product"):
        with_text(SHOP, praise("Pot"))
    with pytest.raises(ConfigError, match="no text of the listing"):
        with_text(SHOP, SellerText("Teapot", "Price", "$1", "T0"))


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("no json", "no text of an audit"),
        ("[1]", "no text of an audit"),
        ('{"product": "Teapot", "field": "Ideal For", "text": 3, "tier": "T0"}', "no text of an"),
        ('{"product": "Pot", "field": "Ideal For", "text": "", "tier": "T0"}', "no such product"),
        ('{"product": "Teapot", "field": "Price", "text": "", "tier": "T0"}', "no such text field"),
        ("[" * 100_000, "no text of an audit"),
    ],
)
def test_lines_that_are_none(tmp_path: Path, line: str, what: str) -> None:
    path = tmp_path / "texts.jsonl"
    write_texts(path, [praise("Teapot")])
    path.write_text(path.read_text("utf-8") + line + "\n", "utf-8")
    with pytest.raises(ValueInvalidError, match=what) as caught:
        read_texts(path, SHOP)
    assert caught.value.row == 1


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(FileUnreadableError, match="no such file"):
        read_texts(tmp_path / "none", SHOP)
    with pytest.raises(FileUnreadableError, match="cannot be read"):
        read_texts(tmp_path, SHOP)
    (tmp_path / "latin").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(FileUnreadableError, match="cannot be read"):
        read_texts(tmp_path / "latin", SHOP)
    (tmp_path / "empty").write_text("\n\n", "utf-8")
    with pytest.raises(DataError, match="has no text"):
        read_texts(tmp_path / "empty", SHOP)


ONE = MadeTrial((2, 1), {"mean": (1, 2)}, RankingCost(1, 20, 3, 0.25), "1 invented")


def test_trials_are_found_again(tmp_path: Path) -> None:
    path = tmp_path / "run" / "trials.jsonl"
    TrialLog(path).add([("a", ONE), ("b", ONE)])
    again = TrialLog(path)
    assert (again.found, again.known) == (2, {"a": ONE, "b": ONE})
    memory = TrialLog()
    memory.add([("a", ONE)])
    assert (memory.known, memory.found) == ({"a": ONE}, 0)


@pytest.mark.parametrize("torn", ['{"key": "b", "ranks": [1', "not json", '{"key": "b"\n', "[]"])
def test_a_line_that_was_cut_off_is_left_out(tmp_path: Path, torn: str) -> None:
    path = tmp_path / "trials.jsonl"
    TrialLog(path).add([("a", ONE)])
    path.write_text(path.read_text("utf-8") + torn, "utf-8")
    log = TrialLog(path)
    log.add([("c", ONE)])
    again = TrialLog(path)
    assert again.found == 2
    assert again.known == {"a": ONE, "c": ONE}


def test_the_key_holds_all_that_is_shown_and_who_is_asked() -> None:
    shop = kettles()
    loud = shop.with_listing(0, shop.listings[0].with_text("Ideal For", "x"))
    asks = [
        Ask(shop.listings, REQUEST, range(6)),
        Ask(shop.listings, REQUEST, (1, 0, 2, 3, 4, 5)),
        Ask(shop.listings, "Another?", range(6)),
        Ask(loud.listings, REQUEST, range(6)),
    ]
    keys = {trial_key(target, ask) for target in (gullible(), stubborn()) for ask in asks}
    assert len(keys) == 8
    assert trial_key(stubborn(), asks[0]) == trial_key(stubborn(), asks[0])


TRIALS_ORDERS = draw_orders(6, 4, seed=0)
TRIALS_TEXTS = (praise("Steel Kettle"), praise("Samovar"), quiet("Teapot"))


class Counting:
    """Gullible; counts what it is asked, has a second rule, a cost and a note."""

    name = "counting"

    def __init__(self) -> None:
        self.asked: list[Ask] = []
        self.calls = 0

    def rank(self, asks: Sequence[Ask]) -> list[Ranking]:
        self.asked.extend(asks)
        self.calls += 1
        return [
            Ranking(
                one.order, one.scores, RankingCost(1, 5), "odd", {"rating": (0.0,) * 5 + (1.0,)}
            )
            for one in gullible().rank(asks)
        ]

    def close(self) -> None:
        """Nothing."""


def test_ranks_are_those_of_a_literal_reference() -> None:
    table = run_trials(gullible(), SHOP, TRIALS_TEXTS, TRIALS_ORDERS)
    assert table.rows.tolist() == [0, 5, 4]
    for at, order in enumerate(TRIALS_ORDERS):
        (clean,) = gullible().rank([Ask(SHOP.listings, REQUEST, order)])
        assert table.clean[at].tolist() == [clean.order.index(row) + 1 for row in range(6)]
        for text, (row, one) in enumerate(zip((0, 5, 4), TRIALS_TEXTS, strict=True)):
            shop = SHOP.with_listing(row, SHOP.listings[row].with_text(one.field, one.text))
            (ranking,) = gullible().rank([Ask(shop.listings, REQUEST, order)])
            assert table.attacked[text, at].tolist() == ranking.ranks(6).tolist()
            assert table.after[text, at] == ranking.rank_of(row, of=6)
            assert table.before[text, at] == clean.rank_of(row, of=6)
    assert (table.after[:2] == 1).all()
    assert (table.after[2] == table.before[2]).all()


def test_the_clean_ranks_are_asked_once_and_batches_are_kept() -> None:
    target = Counting()
    table = run_trials(target, SHOP, TRIALS_TEXTS, TRIALS_ORDERS, batch=5)
    assert (len(target.asked), target.calls) == (16, 4)
    assert (table.clean_cost.calls, table.attacked_cost.calls) == (4, 12)
    assert table.notes == {"odd": 16}
    assert table.also["rating"].clean[:, 5].tolist() == [1] * 4
    assert table.also["rating"].texts == table.texts


def test_an_interrupted_audit_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "trials.jsonl"

    class Breaks(Counting):
        def rank(self, asks: Sequence[Ask]) -> list[Ranking]:
            if self.calls == 2:
                raise KeyboardInterrupt
            return super().rank(asks)

    with pytest.raises(KeyboardInterrupt):
        run_trials(Breaks(), SHOP, TRIALS_TEXTS, TRIALS_ORDERS, log=TrialLog(path), batch=3)
    rest = Counting()
    table = run_trials(rest, SHOP, TRIALS_TEXTS, TRIALS_ORDERS, log=TrialLog(path), batch=3)
    assert len(rest.asked) == 16 - 6
    whole = run_trials(Counting(), SHOP, TRIALS_TEXTS, TRIALS_ORDERS)
    assert np.array_equal(table.attacked, whole.attacked)
    assert table.attacked_cost == whole.attacked_cost
    again = Counting()
    run_trials(again, SHOP, TRIALS_TEXTS, TRIALS_ORDERS, log=TrialLog(path))
    assert again.asked == []


def test_attacks_need_a_catalogue_of_ones_own() -> None:
    others = kettles(own=False)
    with pytest.raises(ConfigError, match="not declared as your own"):
        run_trials(stubborn(), others, TRIALS_TEXTS, TRIALS_ORDERS)
    table = run_trials(stubborn(), others, [quiet("Teapot")], TRIALS_ORDERS)
    assert table.before.shape == (1, 4)


def test_nothing_to_try_is_refused() -> None:
    for texts, orders in ((), TRIALS_ORDERS), (TRIALS_TEXTS, ()):
        with pytest.raises(ConfigError, match="at least one text and one order"):
            run_trials(stubborn(), SHOP, texts, orders)
    with pytest.raises(ConfigError, match="at least 1"):
        run_trials(stubborn(), SHOP, TRIALS_TEXTS, TRIALS_ORDERS, batch=0)
