"""The mask of HSTU attention, token by token, and the buckets of its time bias."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from adwright.core.errors import ConfigError, ValueInvalidError
from adwright.data.batches.jagged import lengths_to_offsets
from adwright.models.kernels.attention_spec import (
    CAUSAL,
    TIME_BUCKETS,
    AttentionSpec,
    Bounds,
    bucket_starts,
    draw_kept,
    dropout,
    pairs,
    scaled,
    share_kept,
    time_bucket,
    time_cells,
)
from adwright.models.kernels.packing import Numbers, pack, packed, store
from adwright.models.kernels.silu_attention import silu_attention


def drawn(length: int, spec: AttentionSpec) -> list[str]:
    """One line a query: x where it sees the key."""
    bounds = Bounds.of(torch.tensor([0, length]), spec)
    place = torch.arange(length)
    admitted, _ = pairs(place, place, Bounds(*(x[0] for x in bounds)), spec.window)
    return ["".join("x" if cell else "." for cell in row) for row in admitted.tolist()]


def test_masks_look_like_this() -> None:
    one, two = torch.tensor([1]), torch.tensor([2])
    assert drawn(4, CAUSAL) == ["x...", "xx..", "xxx.", "xxxx"]
    contexts = AttentionSpec(contexts=two)
    assert drawn(4, contexts) == ["xx..", "xx..", "xxx.", "xxxx"]
    targets = AttentionSpec(targets=two)
    assert drawn(5, targets) == ["x....", "xx...", "xxx..", "xxxx.", "xxx.x"]
    assert drawn(5, AttentionSpec(window=2)) == ["x....", "xx...", ".xx..", "..xx.", "...xx"]
    prefixed = AttentionSpec(window=2, prefix=1)
    assert drawn(5, prefixed) == ["x....", "xx...", "xxx..", "x.xx.", "x..xx"]
    # Contexts are seen from beyond the window, and every candidate stands right after history.
    both = AttentionSpec(contexts=one, targets=two, window=2)
    assert drawn(6, both) == ["x.....", "xx....", "xxx...", "x.xx..", "x..xx.", "x..x.x"]


def test_distances_know_one_place_for_all_candidates_and_no_way_forward() -> None:
    spec = AttentionSpec(contexts=torch.tensor([2]), targets=torch.tensor([2]))
    bounds = Bounds(*(x[0] for x in Bounds.of(torch.tensor([0, 5]), spec)))
    _, distance = pairs(torch.arange(5), torch.arange(5), bounds, 0)
    assert distance[0].tolist() == [0, 0, 0, 0, 0]
    assert distance[3].tolist() == [3, 2, 1, 0, 0]
    assert distance[4].tolist() == [3, 2, 1, 0, 0]


def test_buckets_start_where_the_formula_says() -> None:
    starts = torch.tensor(bucket_starts())
    assert starts.shape == (TIME_BUCKETS,)
    # 35,000 years; among much longer times two neighbours have the same logarithm.
    exact = starts[starts < 1 << 40]
    by_start = torch.searchsorted(exact, torch.cat([exact, exact - 1]), right=True) - 1
    assert torch.equal(by_start.clamp(min=0), time_bucket(torch.cat([exact, exact - 1])))
    for seconds in (0, 1, 2, 3, 59, 3600, 86_400, 10**9):
        wanted = math.floor(math.log(max(1, seconds)) / 0.301)
        assert int(time_bucket(torch.tensor(seconds))) == wanted
        assert int(time_bucket(torch.tensor(-seconds))) == wanted
    assert int(time_bucket(torch.tensor(1 << 62))) == TIME_BUCKETS - 1


@pytest.mark.parametrize(
    "spec",
    [
        AttentionSpec(),
        AttentionSpec(contexts=torch.tensor([3])),
        AttentionSpec(targets=torch.tensor([4])),
        AttentionSpec(window=3),
        AttentionSpec(window=3, prefix=2),
        AttentionSpec(torch.tensor([2]), torch.tensor([3]), window=4, prefix=1),
    ],
    ids=["causal", "contexts", "targets", "window", "prefix", "all"],
)
def test_pairs_follow_the_rules_token_by_token(spec: AttentionSpec) -> None:
    """Each rule of `AttentionSpec` in plain Python: without any one of them a case differs."""
    length = 11
    contexts = 0 if spec.contexts is None else int(spec.contexts[0])
    history = length - (0 if spec.targets is None else int(spec.targets[0]))
    bounds = Bounds.of(torch.tensor([0, length]), spec)
    place = torch.arange(length)
    admitted, distance = pairs(place, place, Bounds(*(x[0] for x in bounds)), spec.window)
    for i in range(length):
        for j in range(length):
            apart = min(i, history) - min(j, history)
            seen = j <= i and (j < history or j == i)
            if spec.window and j >= max(contexts, spec.prefix):
                seen = seen and apart < spec.window
            seen = seen or (i < contexts and j < contexts)
            assert bool(admitted[i, j]) == seen, (i, j)
            assert int(distance[i, j]) == max(apart, 0), (i, j)


def test_many_sequences_are_each_by_themselves() -> None:
    contexts, targets = torch.tensor([0, 2, 1]), torch.tensor([1, 0, 2])
    offsets = torch.tensor([0, 4, 9, 15])
    spec = AttentionSpec(contexts, targets, window=3)
    together = Bounds.of(offsets, spec)
    place = torch.arange(6)
    admitted, distance = pairs(place, place, together, spec.window)
    assert admitted.shape == distance.shape == (3, 6, 6)
    for u in range(3):
        alone = AttentionSpec(contexts[u : u + 1], targets[u : u + 1], window=3)
        mine = Bounds.of(torch.tensor([0, int(offsets[u + 1] - offsets[u])]), alone)
        one, apart = pairs(place, place, Bounds(*(x[0] for x in mine)), 3)
        assert torch.equal(admitted[u], one)
        assert torch.equal(distance[u], apart)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"window": -1}, "must not be negative"),
        ({"window": 4, "prefix": -2}, "must not be negative"),
        ({"prefix": 3}, "no meaning without a window"),
    ],
)
def test_a_spec_that_means_nothing_is_refused(changes: dict[str, int], words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        AttentionSpec(**changes)


@pytest.mark.parametrize(
    ("contexts", "targets", "words"),
    [
        ([3, 0], [2, 0], r"row 0.*3 \+ 2 of 4 tokens"),
        ([0, -1], [0, 0], r"row 1"),
        ([0, 0], [0, 9], r"row 1.*0 \+ 9 of 5 tokens"),
        ([0], [0, 0], "column contexts"),
        ([0, 0], [0, 0, 0], "column targets"),
    ],
)
def test_counts_that_do_not_fit_the_sequences(
    contexts: list[int], targets: list[int], words: str
) -> None:
    spec = AttentionSpec(torch.tensor(contexts), torch.tensor(targets))
    with pytest.raises(ValueInvalidError, match=words):
        Bounds.of(torch.tensor([0, 4, 9]), spec)
    floats = AttentionSpec(torch.zeros(2))
    with pytest.raises(ValueInvalidError, match="int64"):
        Bounds.of(torch.tensor([0, 4, 9]), floats)


def test_a_window_never_hides_contexts_nor_the_prefix() -> None:
    spec = AttentionSpec(contexts=torch.tensor([0, 5]), window=2, prefix=3)
    assert Bounds.of(torch.tensor([0, 6, 12]), spec).always.tolist() == [3, 5]


def test_cells_find_every_bucket_without_a_logarithm() -> None:
    starts, cells = time_cells()
    assert (starts.shape, cells.shape) == ((TIME_BUCKETS + 1,), (512,))
    seconds = torch.cat(
        [torch.arange(1, 5000), 2 ** torch.arange(13, 40), starts[5:80], starts[5:80] - 1]
    )
    cell = (seconds.float().view(torch.int32) >> 20).long() - 1016
    bucket = cells[cell]
    bucket = bucket + (seconds >= starts[bucket + 1]).long() - (seconds < starts[bucket]).long()
    assert torch.equal(bucket, time_bucket(seconds))


RATE = 0.3


def values(*shape: int, dtype: torch.dtype = torch.float64) -> Tensor:
    """None of them 0."""
    drawn = torch.rand(shape, generator=torch.Generator().manual_seed(1)).to(dtype) + 0.5
    return drawn.requires_grad_()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(0, 4), (1,), (3,), (2, 3, 7), (100, 4)])
def test_values_and_gradients_are_the_formulas(shape: tuple[int, ...], dtype: torch.dtype) -> None:
    x = values(*shape, dtype=dtype)
    found = dropout(x, RATE, training=True)
    assert (found.shape, found.dtype) == (x.shape, dtype)
    kept = (found != 0).to(dtype)
    scale = torch.tensor(1 / share_kept(RATE), dtype=dtype)
    torch.testing.assert_close(found, x * kept * scale)
    above = torch.randn_like(found)
    (slope,) = torch.autograd.grad(found, x, above)
    torch.testing.assert_close(slope, above * kept * scale)


@pytest.mark.parametrize("rate", [0.01, 0.2, 0.5, 0.9])
def test_so_many_are_dropped_and_apart_from_each_other(rate: float) -> None:
    torch.manual_seed(0)
    kept = draw_kept((400, 500), rate, like=torch.zeros(1)).double()
    spread = (rate * (1 - rate) / kept.numel()) ** 0.5
    assert float(kept.mean()) == pytest.approx(1 - rate, abs=4 * spread)
    off = (kept - kept.mean()) / kept.std()
    for step in (1, 2, 3, 4, 5, 8, 500):  # four neighbours come of one draw
        flat = off.flatten()
        met = float((flat[step:] * flat[:-step]).mean())
        assert met == pytest.approx(0, abs=4 / kept.numel() ** 0.5), step


def test_the_share_is_what_is_drawn_and_never_nothing() -> None:
    assert share_kept(0.5) == 0.5
    assert share_kept(0.2) == pytest.approx(0.8, abs=2**-17)
    assert share_kept(1 - 1e-9) == 2**-16
    assert share_kept(0) == 1
    assert bool(draw_kept((10_000,), 0.0, like=torch.zeros(1)).all())


def test_the_seed_alone_decides() -> None:
    x, runs = values(5, 9), []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        runs.append(dropout(x, RATE, training=True))
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])
    draws = [torch.Generator().manual_seed(3) for _ in range(2)]
    first, second = (draw_kept((50,), RATE, like=x, generator=one) for one in draws)
    assert torch.equal(first, second)


def test_a_slice_and_a_transposed_one_are_scaled_in_their_places() -> None:
    x = values(6, 8).detach()[:, ::2].T
    kept = draw_kept(x.shape, RATE, like=x)
    torch.testing.assert_close(scaled(x, kept, RATE), x * kept / share_kept(RATE))


HEADS, TOKENS, SIZE = 2, 19, 5
FIRST, ROUNDED, WIDTH = 3, 32, 16


def test_pairs_of_rows_and_of_columns() -> None:
    x = torch.arange(1, 25 * HEADS * SIZE + 1).view(25, HEADS, SIZE).to(torch.bfloat16)
    numbers = Numbers(np.empty((0, 1, 1), np.float32), x.view(torch.int16).numpy())
    room = packed(48, HEADS, SIZE, True)
    pack(room, numbers, HEADS, FIRST, TOKENS, ROUNDED, True, True, True)
    wanted = torch.zeros(HEADS, ROUNDED, WIDTH, dtype=torch.bfloat16)
    wanted[:, :TOKENS, :SIZE] = x[FIRST : FIRST + TOKENS].transpose(0, 1)
    size = wanted.numel() // 2
    rows = torch.from_numpy(room.rows[:size]).view(torch.bfloat16)
    assert torch.equal(rows.view(HEADS, ROUNDED, WIDTH), wanted)
    panels = torch.from_numpy(room.panels[:size]).view(HEADS, 2, WIDTH // 2, 16)
    words = wanted.view(torch.int32).view(HEADS, 2, 16, WIDTH // 2)
    assert torch.equal(panels, words.transpose(2, 3))
    steps = torch.from_numpy(room.steps[:size]).view(torch.bfloat16)
    by_two = wanted.view(HEADS, ROUNDED // 2, 2, WIDTH).transpose(2, 3)
    assert torch.equal(steps.view(HEADS, ROUNDED // 2, WIDTH, 2), by_two)


def test_sums_are_rounded_to_the_nearest() -> None:
    torch.manual_seed(0)
    sums = torch.randn(TOKENS, WIDTH)
    out = torch.zeros(25, HEADS, SIZE, dtype=torch.bfloat16)
    numbers = Numbers(np.empty((0, 1, 1), np.float32), out.view(torch.int16).numpy())
    store(numbers, sums.numpy().ravel(), 1, FIRST, TOKENS, WIDTH, np.float32(1), True)
    assert torch.equal(out[FIRST : FIRST + TOKENS, 1], sums[:, :SIZE].bfloat16())
    assert not out[:, 0].any()
    assert not out[:FIRST].any()


def test_words_of_rows_and_panels() -> None:
    x = torch.arange(1.0, 25 * HEADS * SIZE + 1).view(25, HEADS, SIZE)
    numbers = Numbers(x.numpy(), np.empty((0, 1, 1), np.int16))
    room = packed(48, HEADS, SIZE, False)
    pack(room, numbers, HEADS, FIRST, TOKENS, ROUNDED, False, True, True)
    wanted = torch.zeros(HEADS, ROUNDED, WIDTH)
    wanted[:, :TOKENS, :SIZE] = x[FIRST : FIRST + TOKENS].transpose(0, 1)
    size = wanted.numel()
    rows = torch.from_numpy(room.rows[:size]).view(torch.float32)
    assert torch.equal(rows.view(HEADS, ROUNDED, WIDTH), wanted)
    panels = torch.from_numpy(room.panels[:size]).view(torch.float32)
    panels = panels.view(HEADS, ROUNDED // 16, WIDTH, 16)
    assert torch.equal(panels, wanted.view(HEADS, ROUNDED // 16, 16, WIDTH).transpose(2, 3))
    # Single words need no other order for the steps of a product.
    assert room.steps is room.rows or np.shares_memory(room.steps, room.rows)


def test_a_shorter_sequence_leaves_nothing_of_a_longer_one() -> None:
    x = torch.ones(25, HEADS, SIZE)
    numbers = Numbers(x.numpy(), np.empty((0, 1, 1), np.int16))
    room = packed(48, HEADS, SIZE, False)
    pack(room, numbers, HEADS, 0, 25, 32, False, True, True)
    pack(room, numbers, HEADS, 0, 2, 16, False, True, True)
    rows = torch.from_numpy(room.rows[: HEADS * 16 * WIDTH]).view(torch.float32)
    rows = rows.view(HEADS, 16, WIDTH)
    assert rows[:, :2, :SIZE].all()
    assert not rows[:, 2:].any()
    assert not rows[:, :, SIZE:].any()


#: Every kernel that runs here, with the widest type it computes in.
KERNELS = {"bucketed": torch.float64, "fused": torch.float32}
BATCHED = sorted(KERNELS)
LENGTHS = torch.tensor([0, 1, 5, 17, 3, 40, 0, 33])
CONTEXTS = torch.tensor([0, 0, 2, 3, 0, 4, 0, 1])
TARGETS = torch.tensor([0, 1, 2, 3, 0, 5, 0, 1])
SILU_ATTENTION_HEADS, SILU_ATTENTION_WIDTH, VALUES = 2, 6, 5
SPECS = {
    "causal": {},
    "contexts": {"contexts": CONTEXTS},
    "targets": {"targets": TARGETS},
    "window": {"window": 6},
    "prefix": {"window": 6, "prefix": 3},
    "all": {"contexts": CONTEXTS, "targets": TARGETS, "window": 6, "prefix": 3},
}


def inputs(lengths: Tensor = LENGTHS, *, dtype: torch.dtype = torch.float64) -> dict[str, Any]:
    """All arguments of a batch but spec and kernel; tables of the bias included."""
    generator = torch.Generator().manual_seed(0)
    tokens = int(lengths.sum())

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=dtype).requires_grad_()

    time = torch.randint(0, 10**6, (tokens,), generator=generator).cumsum(0)
    later = torch.randint(0, 10**4, (tokens,), generator=generator)
    return {
        "q": normal(tokens, SILU_ATTENTION_HEADS, SILU_ATTENTION_WIDTH),
        "k": normal(tokens, SILU_ATTENTION_HEADS, SILU_ATTENTION_WIDTH),
        "v": normal(tokens, SILU_ATTENTION_HEADS, VALUES),
        "offsets": lengths_to_offsets(lengths),
        "scale": 0.05,
        "alpha": 0.7,
        # Shorter than the longest sequence: distances are cut off.
        "position_bias": normal(20),
        "time_bias": normal(129),
        "time": time,
        "query_time": time + later,
    }


def with_gradients(arguments: dict[str, Any], kernel: str, spec: AttentionSpec) -> list[Tensor]:
    """The result, then its gradients in one direction by everything that has one."""
    out = silu_attention(**arguments, spec=spec, kernel=kernel)
    wanted = [x for x in arguments.values() if isinstance(x, Tensor) and x.requires_grad]
    direction = torch.sin(torch.arange(out.numel()).double()).view(out.shape).to(out.dtype)
    return [out, *torch.autograd.grad((out * direction).sum(), wanted)]


def literal(arguments: dict[str, Any], spec: AttentionSpec) -> Tensor:
    """One pair of tokens after another, in plain Python."""
    a = arguments
    out = torch.zeros_like(a["v"])
    for u, start in enumerate(a["offsets"][:-1].tolist()):
        length = int(a["offsets"][u + 1]) - start
        contexts = 0 if spec.contexts is None else int(spec.contexts[u])
        history = length - (0 if spec.targets is None else int(spec.targets[u]))
        for i in range(length):
            for j in range(length):
                distance = min(i, history) - min(j, history)
                seen = j <= i and (j < history or i == j)
                if spec.window and j >= max(spec.prefix, contexts):
                    seen = seen and distance < spec.window
                if not (seen or (i < contexts and j < contexts)):
                    continue
                score = a["alpha"] * (a["q"][start + i] * a["k"][start + j]).sum(-1)
                score = score + a["position_bias"][min(max(distance, 0), 19)]
                elapsed = abs(int(a["query_time"][start + i] - a["time"][start + j]))
                bucket = int(torch.tensor(float(max(1, elapsed))).double().log() / 0.301)
                score = score + a["time_bias"][min(bucket, 128)]
                weight = score * torch.sigmoid(score) * a["scale"]
                out[start + i] = out[start + i] + weight[:, None] * a["v"][start + j]
    return out


@pytest.mark.parametrize("name", SPECS)
def test_the_reference_equals_a_loop_over_pairs(name: str) -> None:
    arguments, spec = inputs(torch.tensor([0, 1, 5, 17, 3, 12, 0, 9])), AttentionSpec(**SPECS[name])
    ours = silu_attention(**arguments, spec=spec, kernel="reference")
    torch.testing.assert_close(ours, literal(arguments, spec))


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("biases", ["both", "position", "time", "neither"])
@pytest.mark.parametrize("kernel", BATCHED)
def test_kernels_equal_the_reference_with_gradients(kernel: str, biases: str, name: str) -> None:
    arguments, spec = inputs(dtype=KERNELS[kernel]), AttentionSpec(**SPECS[name])
    if biases in ("time", "neither"):
        arguments["position_bias"] = None
    if biases in ("position", "neither"):
        arguments["time_bias"] = None
    ours = with_gradients(arguments, kernel, spec)
    theirs = with_gradients(arguments, "reference", spec)
    exact = KERNELS[kernel] == torch.float64
    for mine, other in zip(ours, theirs, strict=True):
        torch.testing.assert_close(mine, other, **({} if exact else {"rtol": 1e-4, "atol": 1e-5}))


@pytest.mark.parametrize("kernel", ["reference", "bucketed"])
def test_gradients_are_those_of_finite_differences(kernel: str) -> None:
    lengths, spec = torch.tensor([5, 0, 3]), AttentionSpec(contexts=torch.tensor([2, 0, 0]))
    arguments = inputs(lengths)
    names = ["q", "k", "v", "position_bias", "time_bias"]

    def function(*given: Tensor) -> Tensor:
        changed = {**arguments, **dict(zip(names, given, strict=True))}
        return silu_attention(**changed, spec=spec, kernel=kernel)

    assert torch.autograd.gradcheck(function, [arguments[name] for name in names])


@pytest.mark.parametrize("kernel", BATCHED)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("scale", 0.1),
        ("alpha", 1.0),
        ("position_bias", None),
        ("time_bias", None),
        ("spec", AttentionSpec(contexts=CONTEXTS)),
        ("spec", AttentionSpec(targets=TARGETS)),
        ("spec", AttentionSpec(window=6)),
        ("spec", AttentionSpec(window=6, prefix=3)),
        ("time", 100),
        ("query_time", 100),
    ],
)
def test_each_argument_changes_the_result(kernel: str, name: str, value: object) -> None:
    arguments = {**inputs(dtype=KERNELS[kernel]), "spec": AttentionSpec(window=9)}
    before = silu_attention(**arguments, kernel=kernel)
    changed = arguments[name] // value if isinstance(value, int) else value
    assert not torch.allclose(silu_attention(**{**arguments, name: changed}, kernel=kernel), before)


@pytest.mark.parametrize("kernel", ["reference", *BATCHED])
@pytest.mark.parametrize("name", ["causal", "contexts", "targets", "window", "all"])
def test_what_a_token_may_not_see_changes_nothing(kernel: str, name: str) -> None:
    """A mask that is dropped fails here: every hidden token is replaced, one after another."""
    lengths, settings = torch.tensor([3, 21]), dict(SPECS[name])
    for key, count in (("contexts", 3), ("targets", 4)):
        if key in settings:
            settings[key] = torch.tensor([0, count])
    spec = AttentionSpec(**settings)
    arguments = inputs(lengths, dtype=KERNELS.get(kernel, torch.float64))
    admitted, _ = pairs(
        torch.arange(21),
        torch.arange(21),
        Bounds(*(x[1] for x in Bounds.of(arguments["offsets"], spec))),
        spec.window,
    )
    before = silu_attention(**arguments, spec=spec, kernel=kernel)
    for j in range(21):
        changed = {**arguments, "k": arguments["k"].detach().clone()}
        changed["v"] = arguments["v"].detach().clone()
        changed["k"][3 + j] += 3
        changed["v"][3 + j] += 3
        after = silu_attention(**changed, spec=spec, kernel=kernel)
        same = torch.isclose(after, before, atol=1e-6).flatten(1).all(1)
        assert same[:3].all()
        assert same[3:].tolist() == (~admitted[:, j]).tolist()


@pytest.mark.parametrize("kernel", BATCHED)
def test_half_precision_is_within_its_rounding(kernel: str) -> None:
    arguments, spec = inputs(dtype=torch.float32), AttentionSpec(contexts=CONTEXTS, targets=TARGETS)
    exact = with_gradients(arguments, "reference", spec)
    rounded = dict(arguments)
    for name in ("q", "k", "v"):
        rounded[name] = arguments[name].detach().bfloat16().requires_grad_()
    ours = with_gradients(rounded, kernel, spec)
    assert [x.dtype for x in ours] == [torch.bfloat16] * 4 + [torch.float32] * 2
    for mine, other in zip(ours, exact, strict=True):
        assert float((mine.float() - other).norm().detach() / other.norm().detach()) < 0.01


@pytest.mark.parametrize("kernel", ["reference", *BATCHED, "auto"])
def test_no_tokens_are_no_result_and_no_gradient(kernel: str) -> None:
    arguments = inputs(torch.tensor([0, 0]), dtype=torch.float32)
    out, *gradients = with_gradients(arguments, kernel, AttentionSpec())
    assert out.shape == (0, SILU_ATTENTION_HEADS, VALUES)
    assert not any(x.any() for x in gradients)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_auto_takes_a_kernel_that_computes_the_type(dtype: torch.dtype) -> None:
    arguments = inputs(dtype=dtype)
    best = "fused" if dtype == torch.float32 else "bucketed"
    ours = silu_attention(**arguments, kernel="auto")
    assert torch.equal(ours, silu_attention(**arguments, kernel=best))


def test_shapes_and_kernels_that_do_not_fit_are_refused() -> None:
    arguments = inputs()
    for wrong in (
        {"k": arguments["k"][:, :, :3]},
        {"v": arguments["v"].float()},
        {"offsets": arguments["offsets"].int()},
        {"offsets": arguments["offsets"][:-1]},
        {"time_bias": arguments["time_bias"][:5]},
        {"time": None},
        {"query_time": arguments["time"][:3]},
        {"position_bias": arguments["position_bias"][:0]},
        {"spec": AttentionSpec(contexts=LENGTHS + 1)},
        {"spec": AttentionSpec(contexts=LENGTHS[:2])},
    ):
        with pytest.raises(ValueInvalidError):
            silu_attention(**{**arguments, **wrong}, kernel="reference")
    with pytest.raises(ConfigError, match="no kernel"):
        silu_attention(**arguments, kernel="fast")
    with pytest.raises(ConfigError, match="without a window"):
        AttentionSpec(prefix=3)
    with pytest.raises(ConfigError, match="negative"):
        AttentionSpec(window=-1)
