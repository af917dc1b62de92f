from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from adwright.core.errors import ArtifactCorruptError, ArtifactError, DataError
from adwright.creative.judging.judgement import AdJudge
from adwright.creative.memory.ad_blocks import BlockConfig
from adwright.creative.memory.fitted import KIND, FittedMemory, fit_memory
from adwright.creative.memory.outcomes import RecallTable, d_prime, scores_of_d_prime
from adwright.creative.records.encoders.store import VectorStore
from adwright.creative.records.verbal.record import AdRecord

PLAIN = BlockConfig("hashed", language="")
WORDS = ("bread", "tea", "coat", "apple", "cheese", "coffee", "light", "warm", "fresh", "best")


def made(rows: int = 120, seed: int = 0, *, measure: str = "share") -> RecallTable:
    rng = np.random.default_rng(seed)
    titles = [" ".join(rng.choice(WORDS, size=rng.integers(2, 7))) for _ in range(rows)]
    ads = tuple(AdRecord(brand=f"b{row // 3}", title=one) for row, one in enumerate(titles))
    scores = np.clip([0.1 + 0.12 * len(one.split()) for one in titles], 0, 1)
    scores = np.clip(scores + 0.03 * rng.normal(size=rows), 0, 1)
    targets = 2 * scores if measure == "d_prime" else scores
    shares = scores_of_d_prime(targets) if measure == "d_prime" else scores
    return RecallTable(tuple(map(str, range(rows))), ads, shares, targets, None, measure)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def fitted() -> FittedMemory:
    return fit_memory(made(), PLAIN)


def test_it_is_a_judge_with_an_interval_that_covers(fitted: FittedMemory) -> None:
    assert isinstance(fitted, AdJudge)
    new = made(seed=1)
    found = fitted.judge(new.records)
    assert np.corrcoef(found.value, new.scores)[0, 1] > 0.8
    covered = ((found.low <= new.scores) & (new.scores <= found.high)).mean()
    assert covered >= 0.85
    assert (found.high - found.low).mean() < 0.5
    assert found.coverage == 0.9
    assert not found.unlike.all()


def test_each_ad_is_judged_by_itself(fitted: FittedMemory) -> None:
    ads = made(seed=1).records[:8]
    whole = fitted.judge(ads).value
    np.testing.assert_allclose(fitted.judge(ads[3:5]).value, whole[3:5], atol=1e-6)
    bare = (AdRecord(title="fresh tea"), AdRecord(brand="b1"), AdRecord())
    alone = [float(fitted.judge([ad]).value[0]) for ad in bare]
    together = fitted.judge([*ads, *bare]).value[-3:]
    np.testing.assert_allclose(together, alone, atol=1e-6)
    assert len(fitted.judge([])) == 0
    assert len(fitted.parts([]).value) == 0


def test_what_is_unlike_all_it_knows_is_told(fitted: FittedMemory) -> None:
    known = fitted.judge(made().records[:20]).unlike
    strange = AdRecord(brand="b1", title="Zyx qwv klo pomp grunch xylophagous quark")
    assert not known.any()
    assert fitted.judge([strange, AdRecord()]).unlike.tolist() == [True, True]


def test_parts_add_up_in_the_unit_of_the_targets(fitted: FittedMemory) -> None:
    ads = made(seed=1).records
    parts = fitted.parts(ads)
    np.testing.assert_allclose(np.clip(parts.value, 0, 1), fitted.judge(ads).value, atol=1e-5)


def test_d_prime_is_answered_as_a_score() -> None:
    table = made(measure="d_prime")
    fitted = fit_memory(table, PLAIN, coverage=0.8)
    found = fitted.judge(table.records)
    expected = scores_of_d_prime(fitted.parts(table.records).value)
    np.testing.assert_allclose(found.value, expected, atol=1e-5)
    assert found.coverage == 0.8
    assert d_prime([5], [5], [0], [5])[0] > 1


def test_it_is_saved_and_loaded(fitted: FittedMemory, tmp_path: Path) -> None:
    fitted.save(tmp_path / "memory")
    loaded = FittedMemory.load(tmp_path / "memory")
    ads = made(seed=1).records
    one, other = fitted.judge(ads), loaded.judge(ads)
    for name in ("value", "low", "high", "unlike"):
        np.testing.assert_allclose(getattr(one, name), getattr(other, name), atol=1e-6)
    assert (loaded.ads, loaded.brands, loaded.measure) == (120, 40, "share")
    told = json.loads((tmp_path / "memory" / "manifest.json").read_text("utf-8"))
    assert told["kind"] == KIND
    assert told["config"]["form"] == "encoder"


def test_a_changed_artifact_is_refused(fitted: FittedMemory, tmp_path: Path) -> None:
    fitted.save(tmp_path / "memory")
    path = tmp_path / "memory" / "tensors.safetensors"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ArtifactCorruptError):
        FittedMemory.load(tmp_path / "memory")
    with pytest.raises(ArtifactError):
        FittedMemory.load(tmp_path / "none")


def test_settings_change_what_is_learned(tmp_path: Path) -> None:
    ads = made(seed=1).records[:10]
    plain = fit_memory(made(), PLAIN)
    seeded = fit_memory(made(), PLAIN, seed=7)
    assert not np.allclose(plain.interval.below, seeded.interval.below)
    stored = fit_memory(made(), PLAIN, store=VectorStore(tmp_path))
    np.testing.assert_allclose(plain.judge(ads).value, stored.judge(ads).value, atol=0.01)
    assert list(tmp_path.iterdir())
    with pytest.raises(DataError, match="too few to learn from"):
        fit_memory(made(30), PLAIN)
