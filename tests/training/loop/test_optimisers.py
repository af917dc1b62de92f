"""?"""

from __future__ import annotations

import json
import math
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from adwright.core.artifacts import load_artifact
from adwright.core.errors import ConfigError
from adwright.data.batches.stream import StreamConfig
from adwright.data.tasks.task import Task
from adwright.models.ranking.din import DIN
from adwright.training.loop.distributed import (
    BLOCK,
    RowWise,
    RowWiseAdamW,
    Rule,
    broadcast,
    gather,
    on_first,
    row_sums,
    share_of,
    sum_gradients,
)
from adwright.training.ranking.fit import open_stream
from tests.support.training import fit_distributed

N_ROWS, WIDTH, RATE, EPS = 9, 3, 0.1, 1e-8


def table(seed: int = 0) -> nn.Embedding:
    torch.manual_seed(seed)
    return nn.Embedding(N_ROWS, WIDTH, sparse=True)


def batches(seed: int, steps: int = 6) -> list[tuple[Tensor, Tensor]]:
    """Row numbers with repeats and a coefficient each: the gradient of row j is their sum."""
    torch.manual_seed(100 + seed)
    made = []
    for _ in range(steps):
        size = int(torch.randint(1, 12, ()))
        made.append((torch.randint(0, N_ROWS, (size,)), torch.randn(size, WIDTH)))
    return made


def train(embedding: nn.Embedding, optimiser: torch.optim.Optimizer, seed: int) -> None:
    for rows, coefficients in batches(seed):
        optimiser.zero_grad()
        (embedding(rows) * coefficients).sum().backward()
        optimiser.step()


def literal(
    weight: Tensor, rule: Rule, seed: int, *, decay: float = 0.0, counts: Tensor | None = None
) -> list[list[float]]:
    """The formulas of the module, row by row in plain Python."""
    w = weight.detach().double().tolist()
    v = [0.0] * N_ROWS
    m = [[0.0] * WIDTH for _ in range(N_ROWS)]
    t = [0] * N_ROWS
    for rows, coefficients in batches(seed):
        for j in sorted(set(rows.tolist())):
            g = [
                sum(
                    float(c[d])
                    for row, c in zip(rows.tolist(), coefficients.tolist(), strict=True)
                    if row == j
                )
                for d in range(WIDTH)
            ]
            square = sum(x * x for x in g) / WIDTH
            if rule == "sgd":
                step = g
            elif rule == "adagrad":
                v[j] += square
                step = [x / (math.sqrt(v[j]) + EPS) for x in g]
            else:
                t[j] += 1
                v[j] = 0.999 * v[j] + 0.001 * square
                m[j] = [0.9 * old + 0.1 * new for old, new in zip(m[j], g, strict=True)]
                root = math.sqrt(v[j] / (1 - 0.999 ** t[j])) + EPS
                step = [x / (1 - 0.9 ** t[j]) / root for x in m[j]]
            for d in range(WIDTH):
                penalty = decay / float(counts[j]) * w[j][d] if counts is not None else 0.0
                w[j][d] -= RATE * (step[d] + penalty)
    return w


@pytest.mark.parametrize("rule", ["sgd", "adagrad", "adam"])
@pytest.mark.parametrize("seed", range(3))
def test_equals_literal_reference(rule: Rule, seed: int) -> None:
    embedding = table(seed)
    expected = literal(embedding.weight, rule, seed)
    train(embedding, RowWise([embedding.weight], learning_rate=RATE, rule=rule), seed)
    assert torch.allclose(embedding.weight, torch.tensor(expected), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("rule", ["sgd", "adagrad", "adam"])
def test_decay_equals_the_formula_of_the_paper(rule: Rule) -> None:
    # With SGD this is equation 8 of Zhou et al.: w - lr (g + lambda alpha_mj / n_j w).
    embedding, counts = table(), torch.arange(1.0, N_ROWS + 1) ** 2
    expected = literal(embedding.weight, rule, 0, decay=0.7, counts=counts)
    optimiser = RowWise(
        [embedding.weight],
        learning_rate=RATE,
        rule=rule,
        decay=0.7,
        counts={embedding.weight: counts},
    )
    train(embedding, optimiser, 0)
    assert torch.allclose(embedding.weight, torch.tensor(expected), atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("rule", ["sgd", "adagrad", "adam"])
def test_only_rows_of_the_batch_change(rule: Rule) -> None:
    embedding = table()
    optimiser = RowWise(
        [embedding.weight],
        learning_rate=RATE,
        rule=rule,
        decay=0.5,
        counts={embedding.weight: torch.ones(N_ROWS)},
    )
    embedding(torch.tensor([1, 4, 4])).sum().backward()
    before = embedding.weight.detach().clone()
    state = {name: value.clone() for name, value in optimiser.state[embedding.weight].items()}
    optimiser.step()
    touched = torch.zeros(N_ROWS, dtype=torch.bool)
    touched[[1, 4]] = True
    assert torch.equal((embedding.weight != before).any(1), touched)
    for name, value in optimiser.state[embedding.weight].items():
        changed = (value != state[name]).reshape(N_ROWS, -1).any(1)
        assert torch.equal(changed, touched), name


def test_a_row_counted_less_than_once_is_seen_once() -> None:
    results = []
    for count in (0.0, 0.1, 1.0):
        embedding = table()
        counts = {embedding.weight: torch.full((N_ROWS,), count)}
        train(embedding, RowWise([embedding.weight], learning_rate=RATE, decay=1, counts=counts), 0)
        results.append(embedding.weight.detach())
    assert torch.equal(results[0], results[2])
    assert torch.equal(results[1], results[2])


CHANGES: dict[str, Any] = {
    "learning_rate": 0.2,
    "rule": "adam",
    "decay": 0.3,
    "counts": torch.full((N_ROWS,), 5.0),
    "betas": (0.5, 0.9),
    "eps": 0.1,
}


@pytest.mark.parametrize("name", CHANGES)
def test_every_argument_changes_the_result(name: str) -> None:
    base: dict[str, Any] = {"learning_rate": 0.1, "rule": "adagrad", "decay": 0.1}
    base["counts"] = torch.full((N_ROWS,), 2.0)
    if name == "betas":
        base["rule"] = "adam"
    results = []
    for changes in ({}, {name: CHANGES[name]}):
        embedding = table()
        settings = base | changes
        settings["counts"] = {embedding.weight: settings["counts"]}
        train(embedding, RowWise([embedding.weight], **settings), 0)
        results.append(embedding.weight.detach())
    assert not torch.allclose(results[0], results[1])


def test_state_survives_saving() -> None:
    embeddings = [table(), table()]
    whole = RowWise([embeddings[0].weight], learning_rate=RATE, rule="adam")
    train(embeddings[0], whole, 0)
    train(embeddings[0], whole, 1)
    first = RowWise([embeddings[1].weight], learning_rate=RATE, rule="adam")
    train(embeddings[1], first, 0)
    second = RowWise([embeddings[1].weight], learning_rate=RATE, rule="adam")
    second.load_state_dict(first.state_dict())
    train(embeddings[1], second, 1)
    assert torch.equal(embeddings[0].weight, embeddings[1].weight)


def test_settings_out_of_range_are_refused() -> None:
    weight = table().weight
    with pytest.raises(ConfigError, match=r"learning_rate 0, decay 0"):
        RowWise([weight], learning_rate=0)
    with pytest.raises(ConfigError, match=r"decay -1"):
        RowWise([weight], learning_rate=1, decay=-1)
    with pytest.raises(ConfigError, match=r"betas.*\(0.9, 1\)"):
        RowWise([weight], learning_rate=1, rule="adam", betas=(0.9, 1))
    with pytest.raises(ConfigError, match=r"needs the training counts.*table of 9 rows"):
        RowWise([weight], learning_rate=1, decay=1)


@given(st.lists(st.integers(0, 20), max_size=40), st.sampled_from([1, 20]), st.integers(21, 10**5))
def test_row_sums_equal_coalescing(rows: list[int], times: int, n: int) -> None:
    # Both ways of summing: a sort for few entries and large tables, marks otherwise.
    rows = rows * times
    values = torch.arange(float(2 * len(rows))).view(-1, 2)
    gradient = torch.sparse_coo_tensor(
        torch.tensor([rows], dtype=torch.int64), values, (n, 2), check_invariants=False
    )
    at, sums = row_sums(gradient)
    expected = gradient.coalesce()
    assert torch.equal(at, expected.indices()[0])
    assert torch.allclose(sums, expected.values())
    again = row_sums(expected)
    assert torch.equal(again[0], at)
    assert torch.equal(again[1], expected.values())


SETTINGS: dict[str, Any] = {
    "learning_rate": 0.03,
    "betas": (0.8, 0.9),
    "eps": 1e-3,
    "weight_decay": 0.5,
}
ROWS, WIDTH_ROWWISE_ADAMW = 7, 5


def table_rowwise_adamw(
    rows: int = ROWS, width: int = WIDTH_ROWWISE_ADAMW, seed: int = 0
) -> nn.Parameter:
    generator = torch.Generator().manual_seed(seed)
    return nn.Parameter(torch.randn(rows, width, generator=generator))


def gradients(steps: int, rows: int = ROWS, width: int = WIDTH_ROWWISE_ADAMW) -> Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(steps, rows, width, generator=generator)


def sparse(gradient: Tensor, rows: list[int]) -> Tensor:
    """The rows of a gradient as a batch gives them: in two parts, in no order."""
    at = torch.tensor([*reversed(rows), *rows])
    values = torch.cat([gradient[list(reversed(rows))] * 0.25, gradient[rows] * 0.75])
    return torch.sparse_coo_tensor(at[None], values, gradient.shape, check_invariants=True)


def literal_rowwise_adamw(
    weight: Tensor, steps: list[tuple[Tensor, list[int]]], kept: Any
) -> list[list[float]]:
    """The formula one number after another in double precision; of each step the gradient and
    the rows that have one. kept: how a first moment is kept."""
    lr, (b1, b2) = SETTINGS["learning_rate"], SETTINGS["betas"]
    eps, decay = SETTINGS["eps"], SETTINGS["weight_decay"]
    table: list[list[float]] = weight.tolist()
    for j, row in enumerate(table):
        mean, square, last = [0.0] * len(row), 0.0, 0
        for t, (gradient, rows) in enumerate(steps, 1):
            if j not in rows:
                continue
            if last:
                n, r = t - 1 - last, b1 / math.sqrt(b2)
                reach = sum(r**i for i in range(1, n + 1))
                size = math.sqrt(square / (1 - b2**last)) + eps
                for d in range(len(row)):
                    row[d] *= (1 - lr * decay) ** n
                    row[d] -= reach * lr * mean[d] / (1 - b1**last) / size
                    mean[d] *= b1**n
                square *= b2**n
            else:
                for d in range(len(row)):
                    row[d] *= (1 - lr * decay) ** (t - 1)
            g = gradient[j].tolist()
            square = b2 * square + (1 - b2) * sum(x * x for x in g) / len(g)
            size = math.sqrt(square / (1 - b2**t)) + eps
            for d in range(len(row)):
                row[d] *= 1 - lr * decay
                fresh = b1 * mean[d] + (1 - b1) * g[d]
                row[d] -= lr * fresh / (1 - b1**t) / size
                mean[d] = kept(fresh)
            last = t
    return table


def as_bfloat16(x: float) -> float:
    return float(torch.tensor(x).bfloat16())


def run(optimiser: RowWiseAdamW, weight: Tensor, steps: list[tuple[Tensor, list[int]]]) -> None:
    for gradient, rows in steps:
        weight.grad = gradient if len(rows) == len(weight) else sparse(gradient, rows)
        optimiser.step()


@pytest.mark.parametrize("kind", ["dense", "sparse", "both"])
@pytest.mark.parametrize("moment", ["float32", "bfloat16"])
def test_each_step_is_that_of_the_formula(moment: Any, kind: str) -> None:
    weight, everything = table_rowwise_adamw(), list(range(ROWS))
    start = weight.detach().clone()
    steps = [
        (gradient, everything if kind == "dense" or (kind == "both" and t % 4 > 1) else rows)
        for t, (gradient, rows) in enumerate(
            zip(gradients(12), [[0, 1 + t % 3, 4] for t in range(12)], strict=True)
        )
    ]
    run(RowWiseAdamW([weight], moment=moment, **SETTINGS), weight, steps)
    wanted = torch.tensor(
        literal_rowwise_adamw(start, steps, as_bfloat16 if moment == "bfloat16" else float),
        dtype=torch.float64,
    )
    # A moment near the middle between two bfloat16 may go either way.
    close = {"rtol": 1e-5, "atol": 1e-6} if moment == "float32" else {"rtol": 1e-3, "atol": 5e-4}
    torch.testing.assert_close(weight.detach().double(), wanted, **close)
    # Rows that never occurred are as they were, also without their decay.
    assert torch.equal(weight[5:], start[5:]) == (kind == "sparse")


def test_rows_of_one_number_are_those_of_adamw() -> None:
    ours, theirs = table_rowwise_adamw(width=1), table_rowwise_adamw(width=1)
    optimiser = RowWiseAdamW([ours], moment="float32", **SETTINGS)
    settings = {key: value for key, value in SETTINGS.items() if key != "learning_rate"}
    adamw = torch.optim.AdamW([theirs], lr=SETTINGS["learning_rate"], **settings)
    for gradient in gradients(30, width=1):
        ours.grad, theirs.grad = gradient, gradient.clone()
        optimiser.step()
        adamw.step()
    torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("moment", ["float32", "bfloat16"])
def test_what_rows_missed_is_what_zeros_would_have_done(moment: Any) -> None:
    """After the first steps, whose corrections change fast, with one settle at the end."""
    settings = {**SETTINGS, "eps": 1e-8, "learning_rate": 1e-3}
    lazy, eager = table_rowwise_adamw(), table_rowwise_adamw()
    few, all_rows = (RowWiseAdamW([w], moment=moment, **settings) for w in (lazy, eager))
    everything = list(range(ROWS))
    for t, gradient in enumerate(gradients(120)):
        rows = everything if t < 60 else [row for row in everything if (t + row) % 9 == 0]
        if not rows:
            continue
        present = torch.zeros_like(gradient)
        present[rows] = gradient[rows]
        lazy.grad, eager.grad = sparse(gradient, rows), present
        few.step()
        all_rows.step()
        if t == 59:
            before = eager.detach().clone()
    moved = float((eager.detach() - before).norm())
    behind = float((lazy - eager).detach().norm())
    few.settle()
    assert float((lazy - eager).detach().norm()) < min(0.02 * moved, 0.2 * behind)
    for name in ("mean", "square"):
        difference = few.state[lazy][name].float() - all_rows.state[eager][name].float()
        assert float(difference.norm()) < 0.02 * float(all_rows.state[eager][name].float().norm())
    once = lazy.detach().clone()
    few.settle()
    all_rows.settle()
    assert torch.equal(once, lazy)


@pytest.mark.parametrize("kind", ["dense", "sparse"])
@pytest.mark.parametrize("wide", [False, True])
def test_a_state_is_taken_up_with_the_same_bits(kind: str, wide: bool) -> None:
    rows = list(range(ROWS)) if kind == "dense" else [1, 4]
    steps = [(gradient, rows) for gradient in gradients(6)]
    straight, cut = table_rowwise_adamw(), table_rowwise_adamw()
    run(RowWiseAdamW([straight], **SETTINGS), straight, steps)
    first = RowWiseAdamW([cut], **SETTINGS)
    run(first, cut, steps[:3])
    saved = first.state_dict()
    if wide:
        # As a file without bfloat16 gives it back.
        values = saved["state"][0]
        saved["state"] = {0: {name: value.double() for name, value in values.items()}}
    again = RowWiseAdamW([cut], learning_rate=1.0)
    again.load_state_dict(saved)
    assert again.param_groups[0]["lr"] == SETTINGS["learning_rate"]
    for name, value in first.state[cut].items():
        assert again.state[cut][name].dtype == value.dtype
        assert again.state[cut][name].data_ptr() != value.data_ptr()
    run(again, cut, steps[3:])
    assert torch.equal(straight, cut)


def test_large_tables_are_updated_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    whole, parts = table_rowwise_adamw(40, 6), table_rowwise_adamw(40, 6)
    steps = [(gradient, list(range(40))) for gradient in gradients(3, 40, 6)]
    run(RowWiseAdamW([whole], **SETTINGS), whole, steps)
    monkeypatch.setattr("adwright.training.loop.distributed.BLOCK", 6 * 7)
    run(RowWiseAdamW([parts], **SETTINGS), parts, steps)
    assert torch.equal(whole, parts)
    assert BLOCK > 6 * 40


def test_what_has_no_gradient_stays() -> None:
    still, moved = table_rowwise_adamw(seed=1), table_rowwise_adamw(seed=2)
    before = still.detach().clone()
    optimiser = RowWiseAdamW([still, moved], **SETTINGS)
    moved.grad = torch.ones(ROWS, WIDTH_ROWWISE_ADAMW)
    optimiser.step()
    assert torch.equal(still, before)
    nothing = RowWiseAdamW([], learning_rate=0.1)
    nothing.step()
    nothing.load_state_dict(nothing.state_dict())


@pytest.mark.parametrize("name", ["learning_rate", "betas", "eps", "weight_decay"])
def test_each_setting_changes_the_weights(name: str) -> None:
    changed = {"learning_rate": 0.01, "betas": (0.5, 0.9), "eps": 0.1, "weight_decay": 0.0}
    steps = [(gradient, [0, 1]) for gradient in gradients(3)]
    one, other = table_rowwise_adamw(), table_rowwise_adamw()
    run(RowWiseAdamW([one], **SETTINGS), one, steps)
    run(RowWiseAdamW([other], **(SETTINGS | {name: changed[name]})), other, steps)
    assert not torch.allclose(one, other)


def test_what_does_not_fit_is_refused() -> None:
    for wrong in (
        {"learning_rate": 0.0},
        {"weight_decay": -0.1},
        {"learning_rate": 0.5, "weight_decay": 2.0},
        {"betas": (0.9, 0.8)},
        {"betas": (0.9, 1.0)},
        {"betas": (-0.1, 0.9)},
        {"eps": 0.0},
    ):
        with pytest.raises(ConfigError):
            RowWiseAdamW([table_rowwise_adamw()], **(SETTINGS | wrong))
    for shape in (torch.ones(3), torch.ones(3, 2, dtype=torch.float64)):
        with pytest.raises(ConfigError, match="tables"):
            RowWiseAdamW([nn.Parameter(shape)], **SETTINGS)
    state = RowWiseAdamW([table_rowwise_adamw()], **SETTINGS).state_dict()
    for others in ([table_rowwise_adamw(rows=3)], [table_rowwise_adamw(), table_rowwise_adamw()]):
        optimiser = RowWiseAdamW(others, **SETTINGS)
        saved = {**state, "param_groups": optimiser.state_dict()["param_groups"]}
        with pytest.raises(ConfigError, match="other tables"):
            optimiser.load_state_dict(saved)


Run = Callable[..., subprocess.CompletedProcess[str]]
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")


def weights(folder: Path) -> dict[str, Tensor]:
    tensors = {k: torch.from_numpy(v) for k, v in load_artifact(folder / "final").tensors.items()}
    if "unit.first" in tensors:
        # This row sees only 1 - 1: its gradient is rounding noise, which Adam makes large.
        tensors["unit.first"][2, -1] = 0
    return tensors


def metrics(folder: Path) -> list[dict[str, Any]]:
    lines = (folder / "run" / "metrics.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


def test_two_processes_of_torchrun_equal_one(
    task: Task, tmp_path: Path, run_script: Run, compare: Any
) -> None:
    names = ("sum", "attention", "attention-few")
    fit_distributed.main(task, tmp_path / "one", list(names))
    two = run_script("fit_distributed", task.folder, tmp_path / "two", *names, launcher=TORCHRUN)
    assert two.returncode == 0, two.stderr
    for name in names:
        folders = [tmp_path / which / name for which in ("one", "two")]
        assert compare.distance(*(weights(folder) for folder in folders)) < 1e-4, name
        alone, together = (metrics(folder) for folder in folders)
        assert len(alone) == len(together) == (0 if name.endswith("few") else 2)
        for a, b in zip(alone, together, strict=True):
            for key in ("epoch", "batches", "rows"):
                assert a[key] == b[key], key
            for key in ("train_loss", "valid_loss", "valid_log_loss", "valid_gauc"):
                assert b[key] == pytest.approx(a[key], rel=1e-4), key
            assert torch.tensor(b["train_curve"]) == pytest.approx(torch.tensor(a["train_curve"]))
    # The bar counts the rows of the batch, not of the process, and only the first one shows it.
    assert two.stderr.count("epoch 1/1: 1,006 rows in") == 2
    assert "FutureWarning" not in two.stderr
    # Where the first process gives up, the others do not wait for it.
    refused = "ConfigError: this folder already holds a run"
    assert (tmp_path / "one" / "again-0").read_text().startswith(refused)
    assert (tmp_path / "two" / "again-0").read_text().startswith(refused)
    assert (tmp_path / "two" / "again-1").read_text().startswith("ResourceError: the first process")


def test_alone_everything_stays_as_it_is(task: Task, make_din: Callable[..., DIN]) -> None:
    batch, _ = next(open_stream(task, "train", StreamConfig()).epoch())
    assert share_of(batch) is batch
    values = torch.arange(3.0)
    assert gather(values) is values
    model = make_din(task)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    broadcast(model)
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    linear = nn.Linear(2, 1)
    linear(torch.ones(1, 2)).sum().backward()
    gradient = linear.weight.grad
    assert sum_gradients([linear.weight], [], torch.tensor(2.5)) == 2.5
    assert linear.weight.grad is gradient


def test_alone_the_first_acts_and_its_error_passes() -> None:
    done: list[int] = []
    on_first(lambda: done.append(1))
    assert done == [1]

    def fail() -> None:
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        on_first(fail)


class Two:
    """Two processes in one: the other one sends what this one sends, twice as large."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        module = "adwright.training.loop.distributed"
        monkeypatch.setattr(f"{module}.world_size", lambda: 2)
        monkeypatch.setattr(f"{module}.distributed.all_reduce", self.all_reduce)
        monkeypatch.setattr(f"{module}.distributed.all_gather", self.all_gather)
        self.messages = 0

    def all_reduce(self, values: Tensor) -> None:
        self.messages += 1
        values *= 3

    def all_gather(self, parts: list[Tensor], values: Tensor) -> None:
        self.messages += 1
        parts[0].copy_(values)
        # Numbers of rows and sizes are the same in both.
        parts[1].copy_(values if values.dtype == torch.int64 else 2 * values)


def test_gradients_of_both_processes_are_summed(monkeypatch: pytest.MonkeyPatch) -> None:
    dense, unused = nn.Parameter(torch.ones(2, 2)), nn.Parameter(torch.ones(3))
    small, large = nn.Embedding(4, 2, sparse=True), nn.Embedding(5, 3, sparse=True)
    idle = nn.Embedding(6, 1, sparse=True)
    rows = torch.tensor([1, 3, 1])
    (dense.sum() + small(rows).sum() + 5 * large(torch.tensor([4])).sum()).backward()
    two = Two(monkeypatch)
    tables = [small.weight, idle.weight, large.weight]
    assert sum_gradients([dense, unused], tables, torch.tensor(2.0)) == 6.0
    assert dense.grad is not None
    assert unused.grad is not None
    assert torch.equal(dense.grad, torch.full((2, 2), 3.0))
    assert torch.equal(unused.grad, torch.zeros(3))
    expected = {small: {1: 6.0, 3: 3.0}, idle: {}, large: {4: 15.0}}
    for table, sums in expected.items():
        assert table.weight.grad is not None
        full = table.weight.grad.coalesce().to_dense()
        for row in range(table.num_embeddings):
            assert full[row].tolist() == [sums.get(row, 0.0)] * table.embedding_dim
    # One message for all dense weights and the loss, and a fixed number for all tables.
    assert two.messages == 1 + 3 * 2


@pytest.mark.parametrize("interest", ["sum", "attention"])
def test_a_share_without_groups_reaches_every_dense_weight(
    task: Task, make_din: Callable[..., DIN], interest: str
) -> None:
    # Sums over processes in the backward pass (Dice's moments) need all of them to come by.
    model = make_din(task, interest=interest)
    batch, _ = next(open_stream(task, "train", StreamConfig()).epoch())
    loss = model.loss(batch.groups(torch.arange(0)))
    loss.backward()
    assert loss.item() == 0
    tables = {id(m.weight) for m in model.modules() if isinstance(m, nn.Embedding)}
    for name, parameter in model.named_parameters():
        if id(parameter) not in tables:
            assert parameter.grad is not None, name
            assert not parameter.grad.any(), name
