from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import Ridge

from adwright.core.artifacts import load_artifact
from adwright.core.errors import DataError, ResourceError, ValueInvalidError
from adwright.creative.judging import AdJudge
from adwright.creative.memory import block_ridge as ad_blocks
from adwright.creative.memory.block_ridge import (
    NEAREST,
    SURPRISALS,
    AdBlocks,
    BlockConfig,
    fit_blocks,
    fit_brand,
    group_folds,
    near_numbers,
    shrinkage,
)
from adwright.creative.memory.fitted import (
    KIND,
    FittedMemory,
    fit_head,
    fit_memory,
    train_recall,
)
from adwright.creative.memory.outcomes import RecallTable, d_prime, read_recall, scores_of_d_prime
from adwright.creative.records.ad_record import AdRecord, Scene
from adwright.creative.records.encoders import VectorStore
from adwright.lm.torch_engine.config import TorchConfig
from adwright.metrics.choosing import HonestChoice
from adwright.metrics.ranking import spearman
from tests.support.lm.digit_llama import digit_model

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
    fitted = fit_memory(table, PLAIN)
    found = fitted.judge(table.records)
    expected = scores_of_d_prime(fitted.parts(table.records).value)
    np.testing.assert_allclose(found.value, expected, atol=1e-5)
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


Blocks = dict[str, np.ndarray]


def made_encoder(seed: int = 0) -> tuple[Blocks, list[str], np.ndarray, np.ndarray]:
    """40 brands of 4 ads: the brand is worth much, and of the content one number counts."""
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(40), 4)
    sentence = rng.normal(size=(160, 6)).astype(np.float32)
    sentence /= np.linalg.norm(sentence, axis=1, keepdims=True)
    blocks = {
        "sentence": sentence,
        "surface": rng.normal(size=(160, 3)).astype(np.float32),
        "brand": rng.normal(size=(40, 5)).astype(np.float32)[groups],
    }
    targets = 2 * rng.normal(size=40)[groups] + blocks["surface"][:, 0] + blocks["brand"][:, 0]
    return blocks, [f"b{one}" for one in groups], targets, groups


def test_brand_and_content_add_up() -> None:
    blocks, keys, targets, groups = made_encoder()
    head = fit_head(blocks, keys, targets, groups)
    parts = head.parts(blocks, keys)
    np.testing.assert_allclose(parts.value, parts.brand + parts.content)
    assert np.corrcoef(parts.content, blocks["surface"][:, 0])[0, 1] > 0.8
    brands = np.array([targets[groups == one].mean() for one in groups])
    assert np.corrcoef(parts.brand, brands)[0, 1] > 0.9


def test_blocks_may_be_missing() -> None:
    blocks, keys, targets, groups = made_encoder()
    bare = fit_head({"brand": blocks["brand"]}, keys, targets, groups)
    assert np.ptp(bare.parts({"brand": blocks["brand"]}, keys).content) == 0
    head = fit_head({"surface": blocks["surface"]}, keys, targets, groups)
    assert head.parts({"surface": blocks["surface"][:2]}, keys[:2]).value.shape == (2,)


pytest.importorskip("transformers", reason="the extra lm is not installed")


ADS = (
    AdRecord(brand="Mill Lane", title="Fresh bread", words="Baked at six"),
    AdRecord(brand="", title=""),
    AdRecord(kind="image", brand="Mill Lane", scenes=(Scene(caption="tea", words=("Tea",)),)),
)


def opened(monkeypatch: pytest.MonkeyPatch, made: list[TorchConfig]) -> None:
    def open_tiny(config: TorchConfig) -> object:
        made.append(config)
        return digit_model()

    monkeypatch.setattr(ad_blocks, "open_model", open_tiny)


def test_blocks_without_a_language_model() -> None:
    found = AdBlocks(PLAIN).of(ADS)
    assert set(found) == {"sentence", "surface", "brand", "scenes", "facts"}
    assert all(block.shape[0] == 3 and block.dtype == np.float32 for block in found.values())
    assert np.isnan(found["sentence"][1]).all()
    assert np.isfinite(found["facts"]).all(axis=1).tolist() == [False, False, True]
    assert np.isfinite(found["sentence"][2]).all(), (
        "what a picture shows is read where there is no title"
    )
    assert (found["brand"][0] == found["brand"][2]).all()
    assert set(AdBlocks(PLAIN).of(ADS[:1])) == {"sentence", "surface", "brand"}
    assert AdBlocks(PLAIN).of([]) == {}


def test_a_language_model_gives_surprisals_and_a_state(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[TorchConfig] = []
    opened(monkeypatch, made)
    encoders = AdBlocks(BlockConfig("hashed", language="some/model", layer=2, longest=11))
    found = encoders.of(ADS)
    assert [config.model for config in made] == ["some/model"]
    assert found["surprisal"].shape == (3, SURPRISALS)
    assert found["state"].shape[1] == 48
    assert np.isnan(found["state"][1]).all()
    other = AdBlocks(BlockConfig("hashed", language="some/model", layer=1, longest=11)).of(ADS)
    assert not np.allclose(other["state"][0], found["state"][0])
    longer = AdBlocks(BlockConfig("hashed", language="some/model", layer=2)).of(ADS)
    assert not np.allclose(longer["state"][0], found["state"][0])
    encoders.close()
    encoders.close()


def test_vectors_are_kept_between_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made: list[TorchConfig] = []
    opened(monkeypatch, made)
    config, store = BlockConfig("hashed", layer=2), VectorStore(tmp_path)
    first = AdBlocks(config, store).of(ADS)
    assert len(list(tmp_path.iterdir())) == 2
    again = AdBlocks(config, VectorStore(tmp_path)).of(ADS)
    for name, block in again.items():
        np.testing.assert_array_equal(block, first[name])
    plain = AdBlocks(config).of(ADS)
    np.testing.assert_allclose(plain["state"], first["state"], atol=0.01, rtol=0.01)


def made_block_ridge(rows: int = 60, seed: int = 0) -> tuple[Blocks, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    blocks = {
        "signal": rng.normal(size=(rows, 3)).astype(np.float32),
        "noise": rng.normal(size=(rows, 80)).astype(np.float32),
    }
    targets = blocks["signal"] @ [1.0, -2.0, 0.5] + 0.1 * rng.normal(size=rows) + 3
    return blocks, targets, np.arange(rows) // 2


@pytest.mark.parametrize("rows", [30, 200])
def test_one_block_is_a_ridge_on_scaled_columns(rows: int) -> None:
    blocks, targets, groups = made_block_ridge(rows)
    fitted = fit_blocks({"noise": blocks["noise"]}, targets, groups)
    block = fitted.blocks["noise"]
    scaled = block.scaled(blocks["noise"])
    assert np.abs((scaled**2).sum(1).mean() - 1) < 1e-9
    errors = []
    for alpha in 10.0 ** np.arange(-2, 4.1, 0.5):
        theirs = Ridge(alpha=alpha).fit(scaled, targets)
        errors.append(float(np.abs(theirs.coef_ - block.coefficients).max()))
    assert min(errors) < 1e-8


def test_members_are_weighed_where_there_are_many_rows() -> None:
    few = fit_blocks(*made_block_ridge(120))
    assert few.weights == {"all": 1.0}
    many = fit_blocks(*made_block_ridge(320))
    assert set(many.weights) == {"signal", "noise", "all"}
    assert min(many.weights.values()) >= 0
    assert many.weights["signal"] > 0.9
    new, found, _ = made_block_ridge(200, seed=1)
    errors = [float(((one.predict(new) - found) ** 2).mean()) for one in (few, many)]
    assert errors[1] < errors[0] < found.var()


def test_predictions_that_were_not_seen_are_of_folds_without_the_group() -> None:
    blocks, targets, groups = made_block_ridge(300)
    fitted = fit_blocks(blocks, targets, groups)
    seen = ((fitted.predict(blocks) - targets) ** 2).mean()
    assert seen < ((fitted.unseen - targets) ** 2).mean() < targets.var()
    other = fit_blocks(blocks, targets, groups, seed=1)
    assert not np.allclose(other.unseen, fitted.unseen)


def test_what_is_missing_counts_as_the_mean() -> None:
    blocks, targets, groups = made_block_ridge()
    blocks["signal"][:10] = np.nan
    fitted = fit_blocks(blocks, targets, groups)
    assert np.isfinite(fitted.unseen).all()
    mean = fitted.blocks["signal"].mean
    np.testing.assert_allclose(mean, blocks["signal"][10:].mean(0), atol=1e-6)
    none = np.full((1, 3), np.nan, np.float32)
    usual = fitted.predict({"signal": mean[None].astype(np.float32)})
    np.testing.assert_allclose(fitted.predict({"signal": none}), usual, atol=1e-6)
    assert not fit_blocks({"none": np.full((60, 2), np.nan)}, targets, groups).blocks


def test_folds_keep_groups_whole_and_bad_input_is_refused() -> None:
    blocks, targets, groups = made_block_ridge()
    folds = group_folds(groups, 5, seed=3)
    assert all(len(set(folds[groups == one])) == 1 for one in groups)
    assert not (group_folds(groups, 5, seed=4) == folds).all()
    with pytest.raises(DataError, match="2 brands cannot stand in 5 folds"):
        fit_blocks(blocks, targets, groups % 2)
    with pytest.raises(ValueInvalidError, match="another width"):
        fit_blocks(blocks, targets, groups).predict({"noise": blocks["signal"]})


def brands(between: float, seed: int = 0) -> tuple[list[str], np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    groups = np.repeat(np.arange(20), 5)
    targets = between * rng.normal(size=20)[groups] + rng.normal(size=100)
    return [f"b{one}" for one in groups], targets, groups


def test_shrinkage_is_the_ratio_of_both_variances() -> None:
    rng = np.random.default_rng(0)
    effects = 2 * rng.normal(size=4000)
    residuals = [one + rng.normal(size=3) for one in effects]
    assert shrinkage(residuals) == pytest.approx(1 / 4, rel=0.1)
    assert shrinkage([rng.normal(size=3) for _ in range(5)][:1]) == np.inf
    assert shrinkage([np.zeros(1), np.ones(1)]) == np.inf
    assert shrinkage([np.array([1.0, -1.0]), np.array([1.0, -1.0])]) == np.inf


def test_brands_that_differ_have_shrunken_means() -> None:
    keys, targets, groups = brands(2.0)
    fitted = fit_brand(None, keys, targets, groups)
    means = {key: targets[[one == key for one in keys]].mean() for key in set(keys)}
    known = fitted.predict(None, sorted(means))
    apart = np.array([means[key] for key in sorted(means)]) - targets.mean()
    assert np.corrcoef(known, apart)[0, 1] > 0.95
    assert np.abs(known - targets.mean()).mean() < np.abs(apart).mean() * 1.05
    assert fitted.predict(None, ["unknown"])[0] == pytest.approx(targets.mean())
    assert not fit_brand(None, ["b"] * 100, targets, groups).effects


def test_what_was_not_seen_is_of_other_rows_alone() -> None:
    keys, targets, groups = brands(2.0)
    fitted = fit_brand(None, keys, targets, groups)
    # Of its own target a row sees nothing but the shrinkage, which all rows share.
    moved = targets.copy()
    moved[0] += 0.01
    other = fit_brand(None, keys, moved, groups)
    assert abs(other.unseen[0] - fitted.unseen[0]) < 1e-3
    assert abs(other.unseen[1] - fitted.unseen[1]) > 1e-3


def test_a_name_may_tell_of_a_brand_never_seen() -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(60), 2)
    vectors = rng.normal(size=(60, 4)).astype(np.float32)[groups]
    targets = vectors[:, 0] + 0.1 * rng.normal(size=120)
    fitted = fit_brand(vectors, [str(one) for one in groups], targets, groups)
    new = rng.normal(size=(50, 4)).astype(np.float32)
    assert np.corrcoef(fitted.predict(new, ["new"] * 50), new[:, 0])[0, 1] > 0.95
    weighed = fit_brand(
        vectors, [str(one) for one in groups], targets, groups, weights=1.0 + (groups < 30), seed=1
    )
    assert not np.allclose(weighed.unseen, fitted.unseen)


def unit(rows: int, seed: int) -> np.ndarray:
    made = np.random.default_rng(seed).normal(size=(rows, 5))
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


@settings(max_examples=25)
@given(st.integers(1, 6), st.integers(2, 20), st.booleans())
def test_numbers_are_means_of_sorted_similarities(rows: int, known: int, own: bool) -> None:
    train = unit(known, 1)
    vectors = train if own else unit(rows, 2)
    found = near_numbers(vectors, train, own=own)
    for row, vector in enumerate(vectors):
        others = [float(vector @ one) for at, one in enumerate(train) if not (own and at == row)]
        others.sort(reverse=True)
        expected = [np.mean(others[:many]) for many in NEAREST] + [np.mean(others)]
        np.testing.assert_allclose(found[row], expected, atol=1e-5)


def test_a_text_that_is_not_there_is_near_nothing() -> None:
    train = np.vstack([unit(4, 1), np.full((1, 5), np.nan, np.float32)])
    found = near_numbers(np.vstack([train[:1], train[-1:]]), train)
    assert np.isnan(found[1]).all()
    assert found[0, 0] == pytest.approx(1)
    assert np.isnan(near_numbers(train[:1], train[:1], own=True)).all()


CONFIG = BlockConfig(sentences="hashed", language="")


def test_a_run_says_what_is_kept(tmp_path: Path, shared_data: Path) -> None:
    table = read_recall(shared_data / "lambda" / "ads.jsonl")
    run = train_recall(table, tmp_path / "run", CONFIG)
    said = "\n".join(run.sentences())
    for words in ("brands held out", "108 ads of 56 brands", "brand", "network", "mixture"):
        assert words in said
    report = json.loads((tmp_path / "run" / "report.json").read_text("utf-8"))
    assert report["ads"] == 108
    again = FittedMemory.load(run.folder)
    assert again.judge(table.records[:3]).value.tolist() == (
        run.model.judge(table.records[:3]).value.tolist()
    )
    with pytest.raises(ResourceError):
        train_recall(table, tmp_path / "run", CONFIG)
    train_recall(table, tmp_path / "run", CONFIG, overwrite=True)


def made_protocol(brands: int = 30, each: int = 4, seed: int = 0) -> tuple[RecallTable, Blocks]:
    rng = np.random.default_rng(seed)
    groups, rows = np.repeat(np.arange(brands), each), brands * each
    surface = rng.normal(size=(rows, 2)).astype(np.float32)
    targets = 1.5 * rng.normal(size=brands)[groups] + surface[:, 0] + 0.3 * rng.normal(size=rows)
    ads = tuple(AdRecord(brand=f"b{one}", title="t") for one in groups)
    ids = tuple(map(str, range(rows)))
    return RecallTable(ids, ads, 1 / (1 + np.exp(-targets)), targets), {"surface": surface}


def test_what_is_served_is_chosen_by_brands_held_out() -> None:
    table = made_protocol()[0]
    # Titles tell nothing, and brands nothing of others.
    none = fit_memory(table, PLAIN)
    assert (none.shares, none.told["kept"]) == ({}, None)
    assert np.ptp(none.parts(table.records).value) == 0
    assert "nothing here predicts this" in none.told["sentences"][0]
    some = fit_memory(made(), PLAIN)
    assert some.told["kept"] in some.told["values"]
    low, high = some.told["told"][1:]
    assert low < spearman(some.judge(made(seed=1).records).value, made(seed=1).scores) <= high + 0.1


@pytest.mark.parametrize("shares", [{"tf-idf": 0.5, "network": 0.5}, {"length": 1.0}, {"brand": 1}])
def test_each_that_is_served_is_kept(
    shares: dict[str, float], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(HonestChoice, "parts", property(lambda self: shares))
    made_one = fit_memory(made(), PLAIN)
    made_one.save(tmp_path / "memory")
    ads = [*made(seed=1).records[:9], AdRecord()]
    found = FittedMemory.load(tmp_path / "memory").judge(ads).value
    np.testing.assert_allclose(found, made_one.judge(ads).value, atol=1e-6)


def test_what_was_kept_before_there_was_a_choice_is_read(
    fitted: FittedMemory, tmp_path: Path
) -> None:
    fitted.save(tmp_path / "memory")
    artifact = load_artifact(tmp_path / "memory")
    told = {key: artifact.config[key] for key in artifact.config if key not in ("shares", "told")}
    told["blocks"] = {key: one for key, one in told["blocks"].items() if key != "seen"}
    loaded = FittedMemory.load(replace(artifact, config=told))
    assert (loaded.shares, loaded.encoders.config.seen) == ({"network": 1.0}, 300)
    ads = made(seed=1).records
    expected = fitted.head.parts(fitted.encoders.of(ads), [one.brand for one in ads]).value
    np.testing.assert_allclose(loaded.parts(ads).value, expected, atol=1e-6)


def test_all_of_what_is_seen_is_read() -> None:
    scenes = tuple(Scene(caption=f"scene {at} " * 20) for at in range(9))
    ad = AdRecord(kind="video", scenes=scenes)
    other = AdRecord(kind="video", scenes=(*scenes, Scene(caption="a whale")))
    whole = AdBlocks(PLAIN).of([ad, other])["scenes"]
    assert not np.allclose(*whole)
    np.testing.assert_allclose(np.linalg.norm(whole, axis=1), 1, atol=1e-5)
    assert np.allclose(*AdBlocks(replace(PLAIN, seen=300)).of([ad, other])["scenes"])
