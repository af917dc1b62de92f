from __future__ import annotations

import numpy as np
import pytest

from adwright.creative.memory.lift import brand_key, fit_brand, shrinkage


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


def test_brands_are_the_same_whatever_their_case() -> None:
    assert brand_key(" Mill Lane ") == brand_key("MILL lane")
