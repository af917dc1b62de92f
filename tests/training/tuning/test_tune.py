"""tune(): language models trained on answers."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn import functional

from adwright.core.artifacts import load_artifact
from adwright.core.errors import ConfigError, ResumeError, ValueInvalidError
from adwright.training.tuning.jobs import Job, tune_jobs
from adwright.training.tuning.texts import Texts
from adwright.training.tuning.tune import (
    TuneConfig,
    answer_loss_of,
    answer_nll,
    recomputing,
    require_startable,
    sharding,
    tune,
)
from adwright.tuning.additive.adapters import IA3, AdaMix, Mixture, SerialAdapter
from adwright.tuning.additive.prompts import PrefixTuning, PromptTuning, UniPELT
from adwright.tuning.efficient import AdapterDrop, LadderTuning, LoRAFA, MeZO
from adwright.tuning.methods import Method, PeftKind, Wrapped, apply, load_tuned
from adwright.tuning.packing.texts import attends_apart
from adwright.tuning.reparameterised.factors import LoRAHub
from adwright.tuning.reparameterised.lora import DoRA, DyLoRA, LoRA, SoRA
from adwright.tuning.selective import DiffPruning, FullTuning, HeadOnly, NormTuning
from adwright.tuning.tuned import Tuned
from tests.support.lm.tiny_llama import tiny_llama
from tests.support.training import tune_distributed
from tests.support.training.tune_distributed import base, held_numbers, texts

transformers = pytest.importorskip("transformers")


Run = Callable[..., subprocess.CompletedProcess[str]]
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2")
CONFIG = TuneConfig(epochs=3, batch=4, micro=4, learning_rate=0.02, checkpoint_every=2)


def tuned(seed: int = 0, **settings: Any) -> Tuned:
    return tuned_by(LoRA(rank=4, **settings), seed=seed)


def tuned_by(method: Method, seed: int = 0, sources: tuple[Path, ...] = ()) -> Tuned:
    return apply(base(), method, seed=seed, sources=sources)


def weights(one: Tuned) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in one.state().items()}


def same(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def test_the_loss_falls_and_the_base_stands_still() -> None:
    model, data = tuned(), texts()
    before = model.causal.model.embed_tokens.weight.clone()
    start = answer_nll(model, data)
    result = tune(model, data, replace(CONFIG, epochs=20))
    assert answer_nll(model, data) < start - 0.2
    assert torch.equal(before, model.causal.model.embed_tokens.weight)
    assert result.steps == 60
    assert result.tokens == 20 * data.tokens
    assert np.isnan(result.best)


def test_the_measure_is_the_mean_over_answers() -> None:
    model, data = tuned(), texts()
    total, answers = 0.0, 0
    model.eval()
    for prompt, answer in zip(data.prompts, data.answers, strict=True):
        ids = torch.tensor([[*prompt, *answer]])
        with torch.no_grad():
            logits = model.logits(model(ids))[0].float()
        for place in range(len(prompt), ids.shape[1]):
            total -= float(functional.log_softmax(logits[place - 1], 0)[ids[0, place]])
            answers += 1
    for tokens in (1, 20, 4096):
        assert answer_nll(model, data, tokens=tokens) == pytest.approx(total / answers, abs=1e-5)


def test_lorahub_searches_round_by_round(tmp_path: Path) -> None:
    data, sources = texts(), (tmp_path / "a", tmp_path / "b")
    for at, folder in enumerate(sources):
        part = tuned_by(LoRA(rank=4), seed=at)
        tune(part, data, replace(CONFIG, seed=at))
        part.save(folder)
    config = replace(CONFIG, epochs=8, batch=10)
    whole, half, again = (tuned_by(LoRAHub(rank=4), sources=sources) for _ in range(3))
    before = answer_nll(whole, data)
    tune(whole, data, config)
    assert answer_nll(whole, data) < before

    def cut(step: int) -> None:
        if step == 3:
            raise _Cut

    # How far it looks is taken up too.
    with pytest.raises(_Cut):
        tune(half, data, config, tmp_path / "run", on_step=cut)
    tune(again, data, config, tmp_path / "run", resume=True)
    assert same(weights(whole), weights(again))


def literal_adamix_step(model: Tuned, data: Texts, config: TuneConfig) -> list[torch.Tensor]:
    """Gradients of -log p(y) + (KL(p || q) + KL(q || p)) / 2, text by text."""
    model.before_step(0, 1)
    loss, answers = torch.zeros(()), 0
    mixtures = [module for module in model.modules() if isinstance(module, Mixture)]
    for row in config.rows(0, len(data)):
        prompt, answer = data.prompts[row], data.answers[row]
        ids = torch.tensor([[*prompt, *answer]])
        found = []
        for _ in range(2):
            found.append(model.logits(model(ids))[0, len(prompt) - 1 : -1].log_softmax(-1))
            for mixture in mixtures:
                assert mixture.drawn is not None
                mixture.drawn = mixture.drawn[::-1]
        p, q = found
        loss = loss - p[range(len(answer)), list(answer)].sum()
        loss = loss + ((p.exp() - q.exp()) * (p - q)).sum() / 2
        answers += len(answer)
    model.after_step(0, 1)
    return list(torch.autograd.grad(loss / answers, list(model.parameters())))


@pytest.mark.parametrize("again", [False, True])
def test_adamix_draws_twice(again: bool) -> None:
    method, data = AdaMix(experts=2, size=4), texts()
    config = replace(CONFIG, steps=1, clip_norm=0.0, checkpoint_layers=again, micro=2)
    model, other = tuned_by(method), tuned_by(method)
    for own in (model, other):
        torch.manual_seed(1)
        with torch.no_grad():
            for parameter in own.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.3)
    wanted = literal_adamix_step(other, data, config)
    before = [parameter.detach().clone() for parameter in model.parameters()]
    tune(model, data, config)
    # The first step of Adam is the sign of the gradient, times the rate.
    rate = config.learning_rate * config.share_of_rate(0, 1)
    for was, now, slope in zip(before, model.parameters(), wanted, strict=True):
        clear = slope.abs() > 1e-5
        torch.testing.assert_close(
            (was - now)[clear], rate * slope.sign()[clear], rtol=0, atol=1e-4
        )
    single = tuned_by(replace(method, agreement=0.0))
    with torch.no_grad():
        for parameter, value in zip(single.parameters(), before, strict=True):
            parameter.copy_(value)
    tune(single, data, config)
    assert not same(weights(model), weights(single))


def test_regularisers_are_descended_on() -> None:
    data, config = texts(), replace(CONFIG, steps=1, micro=1, clip_norm=0.0)
    for penalty, opens in ((0.0, False), (1e3, True)):
        model = tuned_by(DiffPruning(penalty=penalty))
        gates = [value for name, value in model.named_parameters() if name.endswith(".gate")]
        before = [gate.detach().clone() for gate in gates]
        tune(model, data, config)
        fell = [bool((now < was).all()) for was, now in zip(before, gates, strict=True)]
        assert all(fell) == opens


def test_a_saved_prompt_is_tuned_on(tmp_path: Path) -> None:
    first = tuned_by(PromptTuning(length=3))
    tune(first, texts(), replace(CONFIG, epochs=10))
    first.save(tmp_path / "prompt")
    again, other = load_tuned(base(), tmp_path / "prompt"), texts(seed=2)
    assert same(weights(first), weights(again))
    before = answer_nll(again, other)
    tune(again, other, CONFIG)
    assert answer_nll(again, other) < before


def test_what_is_tuned_has_to_be_float32() -> None:
    narrow = apply(base().to(torch.bfloat16), NormTuning())
    with pytest.raises(ConfigError, match="float32") as caught:
        tune(narrow, texts(), CONFIG)
    assert "layernorm" in str(caught.value)


def test_mezo_moves_by_forward_passes_alone() -> None:
    model, data = tuned_by(MeZO(rank=2)), texts()
    before = answer_nll(model, data)
    result = tune(model, data, replace(CONFIG, epochs=30, batch=10, learning_rate=1e-3))
    assert answer_nll(model, data) < before
    assert all(parameter.grad is None for parameter in model.parameters())
    assert result.steps == 30


class _Cut(Exception):
    pass


@pytest.mark.parametrize(
    "method",
    [
        LoRA(rank=2),
        LoRA(rank=2, dropout=0.3),
        Wrapped(PeftKind.ADALORA, rank=2, steps=9),
        AdaMix(),
        DyLoRA(),
    ],
    ids=lambda method: getattr(method, "kind", type(method).__name__),
)
def test_a_run_that_was_cut_off_ends_with_the_same_bits(tmp_path: Path, method: Method) -> None:
    data, valid = texts(), texts(4, seed=1)
    whole, half, again = (tuned_by(method) for _ in range(3))
    wanted = tune(whole, data, CONFIG, tmp_path / "whole", valid=valid)

    def cut(step: int) -> None:
        if step == 5:
            raise _Cut

    with pytest.raises(_Cut):
        tune(half, data, CONFIG, tmp_path / "half", valid=valid, on_step=cut)
    found = tune(again, data, CONFIG, tmp_path / "half", valid=valid, resume=True)
    assert same(weights(whole), weights(again))
    assert found.steps == wanted.steps
    assert [line["valid_nll"] for line in found.records] == [
        line["valid_nll"] for line in wanted.records
    ]


def test_the_best_validation_is_kept() -> None:
    model, valid = tuned(), texts(6, seed=1)
    result = tune(model, texts(), replace(CONFIG, epochs=30, learning_rate=0.1), valid=valid)
    assert answer_nll(model, valid) == pytest.approx(result.best, abs=1e-6)
    assert result.best == min(line["valid_nll"] for line in result.records)
    assert result.best_step < result.steps


def test_it_stops_when_nothing_gets_better() -> None:
    result = tune(
        tuned(),
        texts(),
        replace(CONFIG, epochs=60, learning_rate=0.5, patience=2),
        valid=texts(6, seed=1),
    )
    assert result.steps < 180


def test_a_loss_that_explodes_says_so() -> None:
    model = tuned()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(torch.nan)
    with pytest.raises(ConfigError, match="step 1 of"):
        tune(model, texts(), CONFIG)


def test_without_texts_there_is_nothing_to_do() -> None:
    with pytest.raises(ValueInvalidError, match="no texts"):
        tune(tuned(), Texts((), ()), CONFIG)


def test_what_would_be_refused_is_known_before(tmp_path: Path) -> None:
    once = replace(CONFIG, steps=2)
    require_startable(tuned(), texts(), once, tmp_path)
    assert not list(tmp_path.iterdir())
    tune(tuned(), texts(), once, tmp_path)
    require_startable(tuned(), texts(), once, tmp_path, resume=True)
    with pytest.raises(ConfigError, match="already holds a run"):
        require_startable(tuned(), texts(), once, tmp_path)
    with pytest.raises(ResumeError, match="another config"):
        require_startable(tuned(), texts(), CONFIG, tmp_path, resume=True)
    with pytest.raises(ConfigError, match="already holds a run"):
        tune(tuned(), texts(), once, tmp_path)
    with pytest.raises(ResumeError, match="no run"):
        tune(tuned(), texts(), CONFIG, tmp_path / "none", resume=True)


def test_two_processes_of_torchrun_equal_one(tmp_path: Path, run_script: Run) -> None:
    names = ("lora", "prompt", "drop", "mezo", "cut", "shard", "prefix", "norms")
    tune_distributed.main(tmp_path / "one", list(names))
    two = run_script("tune_distributed", tmp_path / "two", *names, launcher=TORCHRUN)
    assert two.returncode == 0, two.stderr

    def read(which: str, name: str, number: int = 0) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((tmp_path / which / f"{name}-{number}.json").read_text())
        return found

    for name in names:
        alone, first, second = read("one", name), read("two", name), read("two", name, 1)
        assert (alone["steps"], alone["tokens"]) == (first["steps"], first["tokens"]) == (6, 106)
        for a, b, c in zip(alone["records"], first["records"], second["records"], strict=True):
            assert b["train_loss"] == pytest.approx(a["train_loss"], rel=1e-5), name
            assert b["valid_nll"] == pytest.approx(a["valid_nll"], rel=1e-5), name
            assert c["train_loss"] == b["train_loss"]
            assert c["valid_nll"] == b["valid_nll"]
        assert first["after"] == pytest.approx(first["best"], rel=1e-6), name
        # Each process ends with the same bits, and with what one process has.
        folders = [tmp_path / "one" / name / "final-0"]
        folders += [tmp_path / "two" / name / f"final-{number}" for number in (0, 1)]
        wanted, *both = (load_artifact(folder).tensors for folder in folders)
        for key, value in wanted.items():
            assert np.array_equal(both[0][key], both[1][key]), (name, key)
            np.testing.assert_allclose(both[0][key], value, rtol=1e-2, atol=1e-4, err_msg=name)
        # A divided base is held by halves.
        halves = 2 if name in ("prompt", "shard", "prefix", "norms") else 1
        assert all(held * halves == first["whole"] for held in first["held"]), name
        assert all(held == alone["whole"] for held in alone["held"])
    # The bar is the first process's.
    assert two.stderr.count("tune: 106 tokens in") == len(names) - 1
    said = [read("two", "refused", number) for number in (0, 1)]
    assert said[0]["again"].startswith("ConfigError: this folder already holds a run")
    assert said[1]["again"].startswith("ResourceError: the first process")
    for each in said:
        assert "asked for different runs" in each["seeds"]
        assert "asked for different runs" in each["folders"]
        assert "no longer a finite number" in each["rate"]
        assert "no decoder layer has frozen weights" in each["full"]


def test_the_rate_rises_and_falls_as_a_cosine() -> None:
    config = TuneConfig(warmup=0.2, floor=0.1)
    rates = [config.share_of_rate(step, 10) for step in range(10)]
    assert rates[:3] == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert rates[6] == pytest.approx(0.1 + 0.9 / 2)
    assert all(before > after for before, after in pairwise(rates[2:]))
    assert 0.1 < rates[-1] < 0.2
    assert replace(config, warmup=0.0).share_of_rate(0, 10) == 1.0


def test_an_epoch_reads_each_text_once_in_an_order_of_its_own() -> None:
    config = TuneConfig(epochs=2, batch=4, seed=3)
    assert (config.steps_an_epoch(10), config.steps_in_all(10)) == (3, 6)
    first, second = ([config.rows(3 * epoch + at, 10) for at in range(3)] for epoch in range(2))
    assert [len(rows) for rows in first] == [4, 4, 2]
    assert sorted(np.concatenate(first)) == sorted(np.concatenate(second)) == list(range(10))
    assert not np.array_equal(np.concatenate(first), np.concatenate(second))
    assert np.array_equal(config.rows(4, 10), second[1])
    assert not np.array_equal(replace(config, seed=4).rows(0, 10), first[0])
    assert replace(config, steps=5).steps_in_all(10) == 5


def test_validations_fall_due() -> None:
    config = TuneConfig(epochs=2, batch=4)
    steps = range(1, 7)
    assert [step for step in steps if config.validates(step, 10)] == [3, 6]
    often = replace(config, validate_every=4)
    assert [step for step in steps if often.validates(step, 10)] == [4, 6]


@pytest.mark.parametrize(
    "wrong",
    [
        {"epochs": 0},
        {"batch": 0},
        {"micro": 0},
        {"patience": 0},
        {"steps": -1},
        {"validate_every": -1},
        {"checkpoint_every": -1},
        {"weight_decay": -0.1},
        {"clip_norm": -1.0},
        {"learning_rate": 0.0},
        {"warmup": 1.0},
        {"floor": 1.1},
    ],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError):
        replace(TuneConfig(), **wrong)  # type: ignore[arg-type]


METHODS: dict[str, Method] = {
    "lora": LoRA(rank=4),
    "dropout": LoRA(rank=4, dropout=0.3),
    "dora": DoRA(rank=2),
    "dylora": DyLoRA(rank=4),
    "sora": SoRA(rank=4),
    "adamix": AdaMix(size=4),
    "drop": AdapterDrop(drop=1, size=4),
    "serial": SerialAdapter(size=4),
    "prompt": PromptTuning(length=3),
    "prefix": PrefixTuning(length=3),
    "ladder": LadderTuning(reduction=4),
    "unipelt": UniPELT(rank=2, length=3, size=4),
    "full": FullTuning(),
    "head": HeadOnly(),
    "peft": Wrapped(PeftKind.LOHA),
}


def moved(model: Tuned) -> Tuned:
    """Away from the start, where most gradients are zero."""
    torch.manual_seed(1)
    for parameter in model.parameters():
        parameter.data += 0.1 * torch.randn(parameter.shape)
    return model.train()


def gradients(model: Tuned) -> tuple[float, dict[str, Tensor | None]]:
    """Of one packed step; torch's generator begins at 2."""
    data = texts(5)
    torch.manual_seed(2)
    model.before_step(3, 10)
    with attends_apart(model.causal):
        loss = answer_loss_of(model, data.packed(range(5)))
        loss.backward()  # type: ignore[no-untyped-call]
    return loss.item(), {name: value.grad for name, value in model.named_parameters()}


def calls(model: Tuned) -> Iterator[int]:
    """How often the first layer has computed, now and whenever asked again."""
    found = [0]
    model.causal.model.layers[0].mlp.register_forward_pre_hook(
        lambda *_: found.__setitem__(0, found[0] + 1)
    )
    while True:
        yield found[0]


@pytest.mark.parametrize("method", METHODS.values(), ids=METHODS)
def test_loss_and_gradients_are_those_without(method: Method) -> None:
    wanted, by_name = gradients(moved(tuned_by(method)))
    model = moved(tuned_by(method))
    with recomputing(model):
        found, again = gradients(model)
    assert found == wanted
    assert by_name.keys() == again.keys()
    for name, value in by_name.items():
        one = again[name]
        if value is None:
            # Nothing below the lowest tuned part is asked for a gradient.
            assert one is None, name
        else:
            assert one is not None, name
            torch.testing.assert_close(one, value, rtol=1e-5, atol=1e-7)


def test_layers_compute_twice_and_only_in_training() -> None:
    model = moved(tuned())
    count = calls(model)
    assert next(count) == 0
    gradients(model)
    assert next(count) == 1
    with recomputing(model):
        gradients(model)
        assert next(count) == 3
        gradients(model.eval())
        assert next(count) == 4
    gradients(model.train())
    assert next(count) == 5


def test_layers_that_cannot_are_named() -> None:
    model = tuned()
    model.causal.model.layers[0] = torch.nn.Identity()
    with pytest.raises(ConfigError, match="cannot be computed again"), recomputing(model):
        pass


def test_alone_nothing_is_divided() -> None:
    model = tuned()
    whole = held_numbers(model)
    with sharding(model):
        assert held_numbers(model) == whole
    base = sum(p.numel() for p in model.causal.model.layers.parameters() if not p.requires_grad)
    assert whole == base


pytest.importorskip("transformers")


def three(**changes: object) -> list[Job]:
    """Jobs that differ in all that may differ."""
    one = TuneConfig(epochs=3, batch=4, micro=4, learning_rate=0.01, checkpoint_every=2)
    other = replace(one, learning_rate=0.02, batch=3, micro=2, seed=1, clip_norm=0.0)
    last = replace(one, epochs=1, steps=5, validate_every=2, weight_decay=0.1, seed=2)
    jobs = [
        Job("a", LoRA(rank=4, rate_ratio=4.0), texts(10, 0), one, texts(4, 9)),
        Job("b", LoRA(rank=2, alpha=4.0, dropout=0.3, targets=("q_proj",)), texts(7, 1), other),
        Job("c", LoRAFA(rank=3), texts(12, 2), last, texts(4, 8)),
    ]
    return [replace(job, config=replace(job.config, **changes)) for job in jobs]  # type: ignore[arg-type]


def saved_weights(folder: Path) -> dict[str, torch.Tensor]:
    """What a job saved."""
    return load_tuned(tiny_llama(), folder / "tuned").state()


def test_each_job_ends_where_it_ends_alone(tmp_path: Path) -> None:
    jobs = three()
    found = tune_jobs(tiny_llama(), jobs, tmp_path)
    for job in jobs:
        single = apply(tiny_llama(), job.method, seed=job.config.seed)
        wanted = tune(single, job.texts, job.config, valid=job.valid)
        got = found[job.name]
        assert (got.steps, got.tokens) == (wanted.steps, wanted.tokens)
        for mine, theirs in zip(got.records, wanted.records, strict=True):
            assert mine.keys() == theirs.keys()
            for key in ("step", "tokens", "train_loss", "valid_nll"):
                if key in theirs:
                    assert mine[key] == pytest.approx(theirs[key], rel=1e-3)
        for name, value in saved_weights(tmp_path / job.name).items():
            torch.testing.assert_close(value, single.state()[name], rtol=2e-2, atol=2e-3)


@pytest.mark.parametrize("at", [3, 7])
def test_jobs_a_run_that_was_cut_off_ends_with_the_same_bits(tmp_path: Path, at: int) -> None:
    wanted = tune_jobs(tiny_llama(), three(), tmp_path / "whole")

    def cut(step: int) -> None:
        if step == at:
            raise _Cut

    with pytest.raises(_Cut):
        tune_jobs(tiny_llama(), three(), tmp_path / "half", on_step=cut)
    found = tune_jobs(tiny_llama(), three(), tmp_path / "half", resume=True)
    for name, result in wanted.items():
        assert found[name].steps == result.steps
        assert [line.get("valid_nll") for line in found[name].records] == [
            line.get("valid_nll") for line in result.records
        ]
        mine, theirs = (
            saved_weights(tmp_path / "half" / name),
            saved_weights(tmp_path / "whole" / name),
        )
        assert all(torch.equal(mine[key], theirs[key]) for key in theirs)


def test_a_finished_run_is_read_back(tmp_path: Path) -> None:
    wanted = tune_jobs(tiny_llama(), three(), tmp_path)
    found = tune_jobs(tiny_llama(), three(), tmp_path, resume=True)
    assert {n: r.records for n, r in found.items()} == {n: r.records for n, r in wanted.items()}
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert {line["job"] for line in lines} == {"a", "b", "c"}
    own = (tmp_path / "a" / "metrics.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in own] == list(wanted["a"].records)


def test_a_job_that_ends_early_is_saved_while_others_go_on(tmp_path: Path) -> None:
    seen = []

    def look(step: int) -> None:
        seen.append((step, (tmp_path / "c" / "tuned").exists(), (tmp_path / "a").exists()))

    tune_jobs(tiny_llama(), three(), tmp_path, on_step=look)
    assert (4, False, False) in seen
    assert (5, True, False) in seen
    assert seen[-1] == (9, True, True)


def test_a_job_that_explodes_leaves_the_others_alone(tmp_path: Path) -> None:
    calm, _, other = three()
    wild = Job("wild", LoRA(rank=4), texts(), replace(calm.config, learning_rate=1e30))
    with pytest.raises(ConfigError, match="finite number in wild") as caught:
        tune_jobs(tiny_llama(), [calm, wild, other], tmp_path / "with")
    assert "step 2 of" in (caught.value.where or "")
    assert not (tmp_path / "with" / "wild").exists()
    tune_jobs(tiny_llama(), [calm, other], tmp_path / "without")
    for name in ("a", "c"):
        mine, theirs = (saved_weights(tmp_path / run / name) for run in ("with", "without"))
        for key, value in theirs.items():
            torch.testing.assert_close(mine[key], value, rtol=2e-2, atol=2e-3)


def test_bfloat16_and_dropout_over_a_base_in_float32() -> None:
    """What dropout keeps has the type of the base, the gradient that of the products."""
    config = TuneConfig(steps=3, batch=2, bfloat16=True, learning_rate=0.02)
    found = tune_jobs(tiny_llama(), [Job("a", LoRA(rank=2, dropout=0.2), texts(), config)])
    assert found["a"].steps == 3


def test_a_run_that_is_told_to_stop_saves_its_step(tmp_path: Path) -> None:
    config = TuneConfig(steps=6, batch=2, learning_rate=0.02)
    jobs = [Job("a", LoRA(rank=2), texts(), config), Job("b", LoRA(rank=2), texts(), config)]
    steps: list[int] = []
    found = tune_jobs(
        tiny_llama(), jobs, tmp_path, on_step=steps.append, stop=lambda: len(steps) == 2
    )
    assert (found, steps) == ({}, [1, 2, 3])
    tune_jobs(tiny_llama(), jobs, tmp_path, resume=True, on_step=steps.append)
    assert steps == [1, 2, 3, 4, 5, 6]


def test_what_cannot_be_is_refused(tmp_path: Path) -> None:
    jobs = three()
    model = tiny_llama()
    with pytest.raises(ConfigError, match="no jobs"):
        tune_jobs(model, [])
    with pytest.raises(ConfigError, match="one name"):
        tune_jobs(model, [jobs[0], jobs[0]])
    with pytest.raises(ConfigError, match="no name of a folder"):
        tune_jobs(model, [replace(jobs[0], name="../a")])
    with pytest.raises(ConfigError, match="IA3 cannot share"):
        tune_jobs(model, [replace(jobs[0], method=IA3())])
    with pytest.raises(ConfigError, match="one type"):
        tune_jobs(model, [jobs[0], three(bfloat16=True)[1]])
    with pytest.raises(ValueInvalidError, match="no texts"):
        tune_jobs(model, [replace(jobs[0], texts=Texts((), ()))])
    with pytest.raises(ResumeError, match="no run"):
        tune_jobs(model, jobs, tmp_path / "none", resume=True)
    (tmp_path / "taken" / "a").mkdir(parents=True)
    with pytest.raises(ConfigError, match="there already"):
        tune_jobs(model, jobs, tmp_path / "taken")
    tune_jobs(model, jobs[:1], tmp_path / "run")
    with pytest.raises(ConfigError, match="already holds a run"):
        tune_jobs(model, jobs[:1], tmp_path / "run")
    with pytest.raises(ResumeError, match="another config"):
        tune_jobs(model, jobs, tmp_path / "run", resume=True)
