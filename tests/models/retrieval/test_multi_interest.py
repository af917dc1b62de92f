"""Scores, losses and the head of models with several vectors a person."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from adwright.core.errors import ConfigError, ValueInvalidError
from adwright.data.batches.batch import QueryBatch
from adwright.data.batches.jagged import Jagged
from adwright.models.calibration import EmbeddingConfig
from adwright.models.retrieval.multi_interest import (
    HCN,
    Behaviours,
    CoInterest,
    HCNConfig,
    HierarchicalExtraction,
    InterestConfig,
    Level,
    MultiInterest,
    Teacher,
    combine,
    recent,
    redundancy,
)
from benchmarks.delivery._comirec import MIND, ComiRec, ComiRecConfig, MINDConfig
from tests.support.data.jagged import jagged
from tests.support.data.small_next_basket import small_task
from tests.support.models.interest_checks import (
    TASK,
    TRAIN,
    check_company,
    check_empty,
    check_saved,
    outcome,
    shake,
)

SHOP = small_task()
CONFIG = InterestConfig(width=8, hidden=12, interests=2, temperature=0.3)


class _Ends(MultiInterest):
    """The first two interests are the oldest and the latest event."""

    def interests(self, behaviours: Behaviours, person: Tensor) -> Tensor:
        last = behaviours.mask.sum(1) - 1
        rows = torch.arange(len(last))
        return torch.stack([behaviours.vectors[:, 0], behaviours.vectors[rows, last]], 1)


def _model(config: InterestConfig = CONFIG) -> _Ends:
    torch.manual_seed(0)
    return _Ends(config, SHOP.spec, SHOP.items, SHOP.count)


def _teacher(queries: int) -> Teacher:
    lists = [[1, 2, 3], [], [5], [6, 7]][:queries]
    return Teacher(jagged(lists), torch.tensor([1.0, -1, 0.5, 2, 0.3, 0.1]))


def test_vectors_carry_the_temperature_and_the_prior() -> None:
    model, batch = _model(), SHOP.batch(SHOP.visits("test"))
    queries, items = model.queries(batch), model.item_vectors(torch.arange(13))
    assert queries.shape == (10, 2, 9)
    torch.testing.assert_close(queries[..., :8] * CONFIG.temperature, model.directions(batch))
    torch.testing.assert_close(queries[..., 8], torch.ones(10, 2))
    torch.testing.assert_close(model.directions(batch).norm(dim=2), torch.ones(10, 2))
    share = (torch.from_numpy(SHOP.count) + 1) / (SHOP.count.sum() + 13)
    torch.testing.assert_close(items[:, 8], share.log().float())
    ignoring = _model(replace(CONFIG, popularity="ignored"))
    assert ignoring.item_vectors(torch.arange(13))[:, 8].abs().max() == 0


@pytest.mark.parametrize("weighting", ["max", "softmax"])
@pytest.mark.parametrize("popularity", ["prior", "corrected", "ignored"])
def test_the_loss_is_the_formula(weighting: str, popularity: str) -> None:
    config = replace(CONFIG, weighting=weighting, popularity=popularity, sharpness=2.0)  # type: ignore[arg-type]
    model, batch = (_model(config), SHOP.batch(SHOP.visits("train")[12:16]))
    pairs = batch.targets.values
    candidates = pairs.unique()
    items = model.item_vectors(candidates)[:, :8]
    share = torch.from_numpy(SHOP.count)[candidates] / SHOP.count.sum()
    log_q = torch.log(1 - torch.exp(-len(pairs) * share))
    log_p = ((torch.from_numpy(SHOP.count)[candidates] + 1) / (SHOP.count.sum() + 13)).log()
    shift = {"prior": log_p - log_q, "corrected": -log_q, "ignored": 0 * log_q}[popularity]
    total = 0.0
    for u, targets in enumerate(batch.targets.to_lists()):
        scores = []
        for c in range(len(candidates)):
            logits = model.directions(batch)[u] @ items[c] / 0.3
            weight = torch.softmax(2.0 * logits, 0)
            score = logits.max() if weighting == "max" else (weight * logits).sum()
            scores.append(score + shift[c])
        for target in targets:
            codes = candidates.tolist()
            keep = [c for c, code in enumerate(codes) if code == target or code not in targets]
            among = torch.stack([scores[c] for c in keep])
            total -= float((scores[codes.index(target)] - torch.logsumexp(among, 0)).detach())
    assert float(model.loss(batch).detach()) == pytest.approx(total, rel=1e-4)


def test_the_penalty_is_the_mean_squared_cosine_a_pair() -> None:
    batch = SHOP.batch(SHOP.visits("train")[12:16])
    plain, model = _model(), _model(replace(CONFIG, orthogonality=0.5))
    directions = model.directions(batch)
    cosines = (directions[:, 0] * directions[:, 1]).sum(1)
    wanted = 0.5 * len(batch.targets.values) * float((cosines**2).mean().detach())
    assert float((model.loss(batch) - plain.loss(batch)).detach()) == pytest.approx(
        wanted, rel=1e-3
    )
    assert float(redundancy(directions).detach()) == pytest.approx(float(cosines.mean().detach()))
    assert float(redundancy(directions[:, :1]).detach()) == 0


@pytest.mark.parametrize("weighting", ["max", "softmax"])
def test_the_teacher_adds_the_distance_of_its_list(weighting: str) -> None:
    config = replace(CONFIG, distillation=0.7, teacher_temperature=2.0, weighting=weighting)  # type: ignore[arg-type]
    model, batch = (_model(config), SHOP.batch(SHOP.visits("train")[12:16]))
    teacher, queries = _teacher(4), model.queries(batch)
    total, lists, at = 0.0, teacher.candidates.to_lists(), 0
    for u, codes in enumerate(lists):
        if not codes:
            continue
        vectors = model.item_vectors(torch.tensor(codes, dtype=torch.int64))
        student = torch.log_softmax(
            combine(queries[u] @ vectors.T, config.weighting, 1.0, dim=0), 0
        )
        taught = torch.log_softmax(teacher.scores[at : at + len(codes)] / 2.0, 0)
        total += float((taught.exp() * (taught - student)).sum().detach()) / 3
        at += len(codes)
    added = model.loss(batch, teacher) - model.loss(batch)
    wanted = 0.7 * len(batch.targets.values) * total
    assert float(added.detach()) == pytest.approx(wanted, rel=1e-3)


def test_a_teacher_without_a_score_for_each_candidate_is_refused() -> None:
    with pytest.raises(ValueInvalidError, match="one score per candidate"):
        Teacher(_teacher(4).candidates, torch.zeros(5))


def test_only_the_latest_events_are_read() -> None:
    model, batch = (_model(replace(CONFIG, events=2)), SHOP.batch(SHOP.visits("test")))
    cut = SHOP.batch(SHOP.visits("test"), max_history=2)
    torch.testing.assert_close(model.queries(batch), model.queries(cut))
    torch.testing.assert_close(
        model.loss(SHOP.batch(SHOP.visits("train")[20:24])),
        model.loss(SHOP.batch(SHOP.visits("train")[20:24], max_history=2)),
    )


HISTORIES = [[3, 1, 3, 5, 2], [4], [], [0, 5, 1, 1]]


def _batch(histories: list[list[int]] = HISTORIES) -> QueryBatch:
    events = sum(map(len, histories))
    return QueryBatch.serving(
        jagged(histories),
        torch.linspace(40, 0, events),
        torch.zeros((len(histories), 1), dtype=torch.int64),
    )


def _items(width: int = 6) -> Tensor:
    generator = torch.Generator().manual_seed(5)
    return torch.nn.functional.normalize(torch.randn(6, width, generator=generator), dim=1)


def _behaviours(batch: QueryBatch | None = None) -> Behaviours:
    batch = batch or _batch()
    return Behaviours.of(batch, _items(), batch.history.values)


def test_padding_keeps_every_event_in_its_place() -> None:
    behaviours = _behaviours()
    assert behaviours.vectors.shape == (4, 5, 6)
    assert behaviours.mask.sum(1).tolist() == [5, 1, 0, 4]
    assert behaviours.back[0].tolist() == [4, 3, 2, 1, 0]
    assert behaviours.back[3, :4].tolist() == [3, 2, 1, 0]
    torch.testing.assert_close(behaviours.vectors[0, 3], _items()[5])
    assert behaviours.vectors[~behaviours.mask].abs().sum() == 0
    scalar = behaviours.spread(torch.arange(1.0, 7)[:, None])[..., 0]
    assert scalar[0].tolist() == [4, 2, 4, 6, 3]
    assert scalar[1].tolist() == [5, 0, 0, 0, 0]


@given(st.lists(st.integers(0, 6), min_size=1, max_size=4), st.integers(1, 7))
def test_recent_keeps_the_end_of_each_history(lengths: list[int], events: int) -> None:
    histories = [list(range(length)) for length in lengths]
    batch = _batch(histories)
    cut = recent(batch, events)
    assert cut.history.to_lists() == [history[-events:] for history in histories]
    ages = Jagged(batch.age, batch.history.offsets).to_lists()
    kept = Jagged(cut.age, cut.history.offsets).to_lists()
    assert kept == [age[-events:] for age in ages]


def _literal_extraction(
    model: HierarchicalExtraction, vectors: Tensor, salience: Tensor, start: Tensor
) -> Tensor:
    """One list of one person: vectors [n, D], salience [K, n], start [K, D] to [K, D]."""
    left = [vectors[j] for j in range(len(vectors))]
    centres = [start[k] for k in range(len(start))]
    many, some = range(len(left)), range(len(centres))
    for level in model.levels:
        assert isinstance(level, Level)
        beta, scale = level.log_sharpness.exp(), level.log_scale.exp()
        share = [[torch.exp(beta * centres[k] @ left[j]) for j in many] for k in some]
        total = [torch.stack([share[k][j] for k in some]).sum() for j in many]
        share = [[share[k][j] / total[j] for j in many] for k in some]
        moved = []
        for k in some:
            weight = torch.stack([share[k][j] * salience[k, j].exp() for j in many])
            weight = weight / weight.sum()
            mean = torch.stack([weight[j] * left[j] for j in many]).sum(0)
            gate = torch.sigmoid(level.gate(torch.cat([centres[k], mean])))
            new = (1 - gate) * centres[k] + gate * scale * mean
            moved.append(new / new.norm())
        left = [
            left[j]
            - model.residual
            * torch.stack([share[k][j] * (moved[k] @ left[j]) * moved[k] for k in some]).sum(0)
            for j in many
        ]
        centres = moved
    return torch.stack(centres)


@pytest.mark.parametrize("levels", [1, 2, 4])
@pytest.mark.parametrize("residual", [0.0, 0.7, 1.0])
def test_the_levels_are_the_formula(levels: int, residual: float) -> None:
    torch.manual_seed(0)
    model = HierarchicalExtraction(
        6, lists=2, interests=3, levels=levels, residual=residual, sharpness=4.0
    )
    shake(model)
    behaviours = _behaviours()
    start = torch.nn.functional.normalize(torch.randn(4, 3, 6), dim=2)
    late = behaviours.mask & (behaviours.back < 2)
    masks = torch.stack([behaviours.mask & ~late, late], 1)
    found = model(behaviours, masks, start)
    salience = model.salience(behaviours).view(4, 2, 3, -1)
    for u in range(4):
        for g in range(2):
            keep = masks[u, g]
            wanted = start[u]
            if keep.any():
                mine = behaviours.vectors[u, keep]
                wanted = _literal_extraction(model, mine, salience[u, g][:, keep], start[u])
            torch.testing.assert_close(found[u, g], wanted, rtol=1e-4, atol=1e-5)


def test_an_event_of_another_list_or_of_the_padding_changes_nothing() -> None:
    model = HierarchicalExtraction(6, lists=1, interests=2, levels=2, residual=1.0, sharpness=4.0)
    start = torch.nn.functional.normalize(torch.randn(1, 2, 6), dim=2)
    long, short = _behaviours(_batch([[3, 1, 2, 5]])), _behaviours(_batch([[2, 5]]))
    same = torch.tensor([[[False, False, True, True]]])
    torch.testing.assert_close(long.bucket[0, 3], short.bucket[0, 1])
    changed = _batch([[3, 1, 2, 5]])
    again = _batch([[4, 4, 2, 5]])
    one = model(Behaviours.of(changed, _items(), changed.history.values), same, start)
    two = model(Behaviours.of(again, _items(), again.history.values), same, start)
    torch.testing.assert_close(one, two)


def test_competition_keeps_the_centres_apart() -> None:
    """Where every centre takes of every event alike, all end up in one place."""
    torch.manual_seed(0)
    items = torch.nn.functional.normalize(torch.randn(6, 6), dim=1)
    batch = _batch([[0, 1, 2, 3, 4, 5], [1, 1, 3, 4]])
    behaviours = Behaviours.of(batch, items, batch.history.values)
    start = torch.nn.functional.normalize(torch.randn(2, 3, 6), dim=2)
    found = []
    for sharpness in (0.01, 30.0):
        model = HierarchicalExtraction(
            6, lists=1, interests=3, levels=1, residual=1.0, sharpness=sharpness
        )
        centres = model(behaviours, behaviours.mask[:, None], start)[:, 0]
        found.append(float(redundancy(centres).detach()))
    assert found[0] > 0.7
    assert found[1] < 0.4


def _literal_co_interest(model: CoInterest, long: Tensor, short: Tensor) -> Tensor:
    beta = model.log_sharpness.exp()
    count = len(long)
    affinity = [
        [beta * long[a] @ model.affinity @ short[b] for b in range(count)] for a in range(count)
    ]
    every = range(count)
    vectors = []
    for k in every:
        row = torch.softmax(torch.stack(affinity[k]), 0)
        column = torch.softmax(torch.stack([affinity[a][k] for a in every]), 0)
        of_short = torch.stack([row[b] * short[b] for b in every]).sum(0)
        of_long = torch.stack([column[a] * long[a] for a in every]).sum(0)
        gate = torch.sigmoid(model.gate(torch.cat([long[k], of_short, short[k], of_long])))
        first, second = long[k] + model.mix * of_short, short[k] + model.mix * of_long
        vectors.append(gate * first + (1 - gate) * second)
    return torch.stack(vectors)


def test_co_interest_is_the_formula() -> None:
    torch.manual_seed(1)
    model = CoInterest(6)
    shake(model)
    long, short = torch.randn(3, 4, 6), torch.randn(3, 4, 6)
    filled = torch.tensor([[True, True], [True, False], [False, True]])
    found = model(long, short, filled)
    torch.testing.assert_close(found[0], _literal_co_interest(model, long[0], short[0]))
    torch.testing.assert_close(found[1], long[1])
    torch.testing.assert_close(found[2], short[2])


CONFIG_HCN = HCNConfig(
    width=8, hidden=12, interests=3, events=9, short_days=2, short_events=4, temperature=0.2
)


def _model_hcn(config: HCNConfig = CONFIG_HCN, seed: int = 0) -> HCN:
    torch.manual_seed(seed)
    return HCN(config, TASK.spec, TASK.items, TASK.count)


def _behaviours_hcn() -> Behaviours:
    batch = TASK.batch(TASK.visits("test"))
    return Behaviours.of(batch, torch.randn(13, 8), batch.history.values)


def test_long_and_short_history_are_apart() -> None:
    behaviours = _behaviours_hcn()
    long, short = _model_hcn(replace(CONFIG_HCN, overlap=False)).lists(behaviours).unbind(1)
    assert not (long & short).any()
    assert torch.equal(long | short, behaviours.mask)
    assert (behaviours.age[short] <= 2).all()
    assert (behaviours.back[short] < 4).all()
    assert short.sum(1).tolist() == [4] * 10
    both, again = _model_hcn().lists(behaviours).unbind(1)
    assert torch.equal(both, behaviours.mask)
    assert torch.equal(again, short)
    one = _model_hcn(replace(CONFIG_HCN, split=False)).lists(behaviours)
    assert torch.equal(one[:, 0], behaviours.mask)
    assert one.shape[1] == 1


def test_its_parts_are_put_together_as_the_page_says() -> None:
    model, batch = _model_hcn(), TASK.batch(TRAIN[40:44], max_history=9)
    shake(model)
    codes, place = torch.unique(batch.history.values, return_inverse=True)
    behaviours = Behaviours.of(batch, model.item(codes), place)
    person = model.person(batch)
    assert person.shape == (4, model.person_width)
    moved = model.start + model.personal(person).view(4, 3, 8)
    start = moved / moved.norm(dim=2, keepdim=True)
    masks = model.lists(behaviours)
    centres = model.extraction(behaviours, masks, start)
    assert model.co_interest is not None
    raw = model.co_interest(centres[:, 0], centres[:, 1], masks.any(2))
    near = raw / raw.norm(dim=2, keepdim=True)
    wanted = torch.stack(
        [near[:, k] + model.head(torch.cat([near[:, k], person], 1)) for k in range(3)], 1
    )
    wanted = wanted / wanted.norm(dim=2, keepdim=True)
    torch.testing.assert_close(model.directions(batch), wanted)


@pytest.mark.parametrize("split", [True, False])
def test_a_history_is_the_same_alone_and_in_company(split: bool) -> None:
    model = _model_hcn(replace(CONFIG_HCN, split=split))
    shake(model)
    check_company(model)


def test_a_person_without_history_has_vectors() -> None:
    check_empty(_model_hcn())


def test_an_artifact_gives_back_the_same_numbers(tmp_path: Path) -> None:
    check_saved(_model_hcn(), _model_hcn, tmp_path)


@pytest.mark.parametrize(
    "change",
    [
        {"width": 4},
        {"hidden": 5},
        {"interests": 2},
        {"events": 3},
        {"temperature": 0.5},
        {"weighting": "softmax"},
        {"popularity": "corrected"},
        {"orthogonality": 1.0},
        {"levels": 1},
        {"residual": 0.5},
        {"competition": 1.0},
        {"split": False},
        {"short_days": 1.0},
        {"short_events": 1},
        {"overlap": False},
        {"embedding": EmbeddingConfig(width=3, scale=0.1)},
    ],
)
def test_every_field_changes_the_loss(change: dict[str, object]) -> None:
    before, _ = outcome(_model_hcn())
    after, _ = outcome(_model_hcn(replace(CONFIG_HCN, **change)))  # type: ignore[arg-type]
    assert before != after


@pytest.mark.parametrize("change", [{"distillation": 0.1}, {"teacher_temperature": 9.0}])
def test_every_field_of_the_distillation_changes_the_loss(change: dict[str, object]) -> None:
    batch = TASK.batch(TRAIN[30:34])
    teacher = Teacher(batch.targets, torch.linspace(-2, 2, len(batch.targets.values)))
    losses = {
        float(_model_hcn(config).loss(batch, teacher).detach())
        for config in (CONFIG_HCN, replace(CONFIG_HCN, **change))  # type: ignore[arg-type]
    }
    assert len(losses) == 2


@pytest.mark.parametrize(
    "wrong",
    [
        *({"orthogonality": -0.1}, {"distillation": -0.1}, {"levels": 0}, {"short_events": 0}),
        *({"residual": 1.1}, {"residual": -0.1}, {"short_days": -1.0}, {"competition": 0.0}),
    ],
    ids=str,
)
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        replace(CONFIG_HCN, **wrong)


COMIREC = ComiRecConfig(width=8, hidden=12, interests=3, events=9, attention=10, temperature=0.2)
ROUTED = MINDConfig(width=8, hidden=12, interests=3, events=9, temperature=0.2)


def _comirec(config: ComiRecConfig = COMIREC) -> ComiRec:
    torch.manual_seed(0)
    return ComiRec(config, TASK.spec, TASK.items, TASK.count)


def _mind(config: MINDConfig = ROUTED) -> MIND:
    torch.manual_seed(0)
    return MIND(config, TASK.spec, TASK.items, TASK.count)


MODELS = pytest.mark.parametrize("make", [_comirec, _mind])


def _behaviours_of(model: MultiInterest) -> Behaviours:
    batch = TASK.batch(TRAIN[20:24], max_history=9)
    codes, place = torch.unique(batch.history.values, return_inverse=True)
    return Behaviours.of(batch, model.item(codes), place)


def test_comirec_is_the_formula() -> None:
    model = _comirec()
    shake(model)
    behaviours = _behaviours_of(model)
    found = model.interests(behaviours, torch.zeros(4, 1))
    for u in range(4):
        events = range(int(behaviours.mask[u].sum()))
        b = [behaviours.vectors[u, j] for j in events]
        for k in range(3):
            logits = [
                model.heads.weight[k] @ torch.tanh(model.hidden.weight @ b[j])
                + model.of_age[behaviours.bucket[u, j], k]
                for j in events
            ]
            weight = torch.softmax(torch.stack(logits), 0)
            wanted = torch.stack([weight[j] * b[j] for j in events]).sum(0)
            torch.testing.assert_close(found[u, k], wanted, rtol=1e-4, atol=1e-5)


def _literal_routing(model: MIND, b: list[Tensor], start: Tensor) -> Tensor:
    """b: item vectors of a person's n events; start [n, K] to capsules [K, D]."""
    count = start.shape[1]
    logits = [[start[j, k] for k in range(count)] for j in range(len(b))]
    capsules: list[Tensor] = []
    for _ in range(model.config.rounds):
        weight = [torch.softmax(torch.stack(row), 0) for row in logits]
        capsules = []
        for k in range(count):
            z = torch.stack([weight[j][k] * (model.shared.weight @ b[j]) for j in range(len(b))])
            z = z.sum(0)
            length = (z @ z).sqrt()
            capsules.append(length**2 / (1 + length**2) * z / length)
        logits = [
            [logits[j][k] + capsules[k] @ model.shared.weight @ b[j] for k in range(count)]
            for j in range(len(b))
        ]
    return torch.stack(capsules)


@pytest.mark.parametrize("rounds", [1, 3])
def test_mind_is_the_formula(rounds: int) -> None:
    model = _mind(replace(ROUTED, rounds=rounds))
    shake(model)
    behaviours = _behaviours_of(model)
    found = model.interests(behaviours, torch.zeros(4, 1))
    start = model.get_buffer("start")
    for u in range(4):
        count = int(behaviours.mask[u].sum())
        back = torch.arange(count).flip(0)
        b = [behaviours.vectors[u, j] for j in range(count)]
        wanted = _literal_routing(model, b, start[back])
        torch.testing.assert_close(found[u], wanted, rtol=1e-4, atol=1e-5)


def test_only_the_last_round_is_differentiated() -> None:
    """The gradient of S is that of the last weighted sum with constant weights."""
    model = _mind()
    behaviours = _behaviours_of(model)
    model.interests(behaviours, torch.zeros(4, 1)).sum().backward()  # type: ignore[no-untyped-call]
    assert model.shared.weight.grad is not None
    before = model.shared.weight.grad.clone()
    with torch.no_grad():
        mapped = behaviours.vectors @ model.shared.weight.T
        logits = model.get_buffer("start")[behaviours.back].transpose(1, 2)
        for _ in range(2):
            weight = torch.softmax(logits, 1) * behaviours.mask[:, None]
            z = weight @ mapped
            squared = (z**2).sum(-1, keepdim=True)
            logits = logits + (z * squared.sqrt() / (1 + squared)) @ mapped.transpose(1, 2)
        weight = torch.softmax(logits, 1) * behaviours.mask[:, None]
    model.shared.weight.grad = None
    z = weight @ (behaviours.vectors.detach() @ model.shared.weight.T)
    squared = (z**2).sum(-1, keepdim=True)
    (z * (squared + 1e-12).sqrt() / (1 + squared)).sum().backward()  # type: ignore[no-untyped-call]
    torch.testing.assert_close(model.shared.weight.grad, before, rtol=1e-4, atol=1e-5)


@MODELS
def test_a_history_is_the_same_alone_and_in_company_comirec(make: type[ComiRec]) -> None:
    check_company(make())  # type: ignore[call-arg]


@MODELS
def test_a_person_without_history_has_vectors_comirec(make: type[ComiRec]) -> None:
    check_empty(make())  # type: ignore[call-arg]


@MODELS
def test_an_artifact_gives_back_the_same_numbers_comirec(
    make: type[ComiRec], tmp_path: Path
) -> None:
    check_saved(make(), make, tmp_path)  # type: ignore[call-arg, arg-type]


@pytest.mark.parametrize(
    "change", [{"attention": 3}, {"ages": False}, {"interests": 2}, {"events": 3}]
)
def test_every_field_of_comirec_changes_the_loss(change: dict[str, object]) -> None:
    changed = _comirec(replace(COMIREC, **change))  # type: ignore[arg-type]
    assert outcome(_comirec())[0] != outcome(changed)[0]


@pytest.mark.parametrize("change", [{"rounds": 1}, {"spread": 0.1}, {"interests": 2}])
def test_every_field_of_mind_changes_the_loss(change: dict[str, object]) -> None:
    changed = _mind(replace(ROUTED, **change))  # type: ignore[arg-type]
    assert outcome(_mind())[0] != outcome(changed)[0]
