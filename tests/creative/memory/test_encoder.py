from __future__ import annotations

import numpy as np

from adwright.creative.memory.encoder import fit_head

Blocks = dict[str, np.ndarray]


def made(seed: int = 0) -> tuple[Blocks, list[str], np.ndarray, np.ndarray]:
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
    blocks, keys, targets, groups = made()
    head = fit_head(blocks, keys, targets, groups)
    parts = head.parts(blocks, keys)
    np.testing.assert_allclose(parts.value, parts.brand + parts.content)
    assert np.corrcoef(parts.content, blocks["surface"][:, 0])[0, 1] > 0.8
    brands = np.array([targets[groups == one].mean() for one in groups])
    assert np.corrcoef(parts.brand, brands)[0, 1] > 0.9


def test_the_content_never_reads_the_brand() -> None:
    blocks, keys, targets, groups = made()
    head = fit_head(blocks, keys, targets, groups)
    assert set(head.content.blocks) == {"sentence", "surface", "near"}
    other = head.parts({**blocks, "brand": blocks["brand"][::-1]}, ["new"] * len(keys))
    same = head.parts(blocks, keys)
    np.testing.assert_array_equal(other.content, same.content)
    assert not np.allclose(other.brand, same.brand)


def test_blocks_may_be_missing() -> None:
    blocks, keys, targets, groups = made()
    bare = fit_head({"brand": blocks["brand"]}, keys, targets, groups)
    assert np.ptp(bare.parts({"brand": blocks["brand"]}, keys).content) == 0
    head = fit_head({"surface": blocks["surface"]}, keys, targets, groups)
    assert head.parts({"surface": blocks["surface"][:2]}, keys[:2]).value.shape == (2,)


def test_weights_and_seed_change_what_is_learned() -> None:
    blocks, keys, targets, groups = made()
    plain = fit_head(blocks, keys, targets, groups).parts(blocks, keys).value
    weights = np.where(groups < 20, 3.0, 1.0)
    weighed = fit_head(blocks, keys, targets, groups, weights=weights).parts(blocks, keys).value
    drawn = fit_head(blocks, keys, targets, groups, seed=5).parts(blocks, keys).value
    assert not np.allclose(plain, weighed)
    assert not np.allclose(plain, drawn)
