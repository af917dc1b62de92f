"""Simple rules: what they learn, that the order of rows says nothing, and that they are kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from adwright.core.errors import ArtifactError, ConfigError, DataError
from adwright.creative.records.verbal.record import AdRecord
from adwright.creative.response.protocol.outcomes import (
    UPWORTHY,
    CreativeOutcomes,
    read_outcomes,
)
from adwright.creative.response.protocol.rules import (
    ClickRule,
    ConstantRule,
    LengthRule,
    TfidfRule,
    log_rates,
    rule_of,
)
from adwright.creative.response.protocol.stories import stories_of, story_folds
from adwright.metrics.rank_correlation import spearman

RULES = (ConstantRule(), LengthRule(), TfidfRule())
RNG = np.random.default_rng(0)


def _outcomes(rows: int = 200) -> CreativeOutcomes:
    """Ads with "win" in the title are clicked three times as often; long ones less often."""
    win, size = RNG.random(rows) < 0.5, RNG.integers(1, 9, rows)
    titles = [f"{'win' if one else 'some'} thing {n}" for n, one in enumerate(win)]
    rate = np.where(win, 0.06, 0.02) / np.sqrt(size)
    return CreativeOutcomes(
        records=tuple(
            AdRecord(title=title, words="word " * k) for title, k in zip(titles, size, strict=True)
        ),
        ids=tuple(f"{n:04}" for n in range(rows)),
        impressions=np.full(rows, 5000),
        clicks=RNG.binomial(5000, rate),
        tests=np.full(rows, -1),
        ledes=("",) * rows,
    )


OUTCOMES = _outcomes()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_the_clicks_of_training_are_expected(rule: ClickRule) -> None:
    rates = rule.fit(OUTCOMES).rates(OUTCOMES.records)
    assert OUTCOMES.impressions @ rates == pytest.approx(OUTCOMES.clicks.sum())
    assert rates.shape == (len(OUTCOMES),)
    assert ((rates > 0) & (rates <= 1)).all()


def test_each_rule_learns_what_it_can_see() -> None:
    constant, length, tfidf = (rule.fit(OUTCOMES).rates(OUTCOMES.records) for rule in RULES)
    assert np.ptp(constant) == 0
    assert 0.2 < spearman(length, OUTCOMES.rate) < spearman(tfidf, OUTCOMES.rate)
    assert spearman(tfidf, OUTCOMES.rate) > 0.8
    assert "title: win" in dict(TfidfRule().fit(OUTCOMES).strongest(10))


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_the_order_of_the_rows_says_nothing(rule: ClickRule) -> None:
    order = RNG.permutation(len(OUTCOMES))
    one, other = rule.fit(OUTCOMES), rule.fit(OUTCOMES.take(order))
    rates = one.rates(OUTCOMES.records)
    np.testing.assert_allclose(other.rates(OUTCOMES.records), rates, rtol=1e-6)
    again = one.rates([OUTCOMES.records[n] for n in order])
    np.testing.assert_allclose(again, rates[order])
    alone = [one.rates([record])[0] for record in OUTCOMES.records[:5]]
    np.testing.assert_allclose(alone, rates[:5])


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_a_rule_is_kept_as_arrays_and_plain_values(rule: ClickRule) -> None:
    fitted = rule.fit(OUTCOMES)
    arrays, plain = fitted.state()
    again = rule_of(arrays, plain)
    assert again.name == fitted.name
    np.testing.assert_array_equal(again.rates(OUTCOMES.records), fitted.rates(OUTCOMES.records))


def test_a_damaged_state_is_no_rule() -> None:
    arrays, plain = TfidfRule().fit(OUTCOMES).state()
    with pytest.raises(ArtifactError, match="state of no rule"):
        rule_of({}, plain)
    with pytest.raises(ArtifactError, match="there is no rule 'other'"):
        rule_of(arrays, plain | {"rule": "other"})
    with pytest.raises(ArtifactError, match="not as many as the weights"):
        rule_of(arrays, plain | {"entries": ["title: a"]})
    with pytest.raises(ArtifactError, match="entries or strength"):
        rule_of(arrays, plain | {"strength": "much"})


def test_settings_are_chosen_on_stories_of_training() -> None:
    fitted = TfidfRule(strengths=(0.5, 5000.0)).fit(OUTCOMES)
    assert fitted.strength == 0.5
    assert fitted.tried[0.5] < fitted.tried[5000.0]
    assert TfidfRule(strengths=(3.0,)).fit(OUTCOMES).strength == 3.0
    other = TfidfRule(strengths=(0.5, 5000.0)).fit(OUTCOMES, seed=1)
    assert other.tried != fitted.tried
    assert len(TfidfRule(least=120).fit(OUTCOMES).space.entries) < len(fitted.space.entries)


@pytest.mark.parametrize("wrong", [{"strengths": ()}, {"strengths": (0.0,)}, {"least": 0}])
def test_wrong_settings_are_refused(wrong: dict) -> None:
    with pytest.raises(ConfigError, match=next(iter(wrong))):
        TfidfRule(**wrong)


def test_ads_without_words_teach_no_words() -> None:
    blank = OUTCOMES.take(np.arange(2))
    with pytest.raises(DataError, match="no two words"):
        TfidfRule(least=3).fit(blank)
    assert np.isfinite(log_rates(OUTCOMES)).all()


def test_upworthys_words_tell_something_of_stories_never_seen(shared_data: Path) -> None:
    table = pl.read_parquet(shared_data / "upworthy" / "creatives.parquet").head(3000)
    outcomes = read_outcomes(table, UPWORTHY)
    fold = story_folds(stories_of(outcomes), 4, seed=0)
    train, held = np.flatnonzero(fold != 0), np.flatnonzero(fold == 0)
    told = TfidfRule().fit(outcomes.take(train)).rates([outcomes.records[n] for n in held])
    assert spearman(told, outcomes.rate[held]) > 0.15
