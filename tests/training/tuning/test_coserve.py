"""Inference at the borders of tuning: the rules in simulated time, and a tiny model."""

from __future__ import annotations

import json
import random
from collections import deque
from contextlib import closing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch

from adwright.core.errors import ConfigError, DataError, ValueInvalidError
from adwright.lm.engine.generation import GenerationConfig
from adwright.lm.serving.config import ServingConfig
from adwright.lm.serving.engine import AdapterModels
from adwright.training.tuning.coserve import (
    Beside,
    Bounds,
    Pending,
    ServedBeside,
    TuningThread,
    check_coserving,
)
from adwright.training.tuning.jobs import Job, tune_jobs
from adwright.training.tuning.run import JobRun, JobsRun, LoadedJobs
from adwright.training.tuning.texts import (
    ChatTurn,
    PairsConfig,
    TextRow,
    Texts,
    asked_and_answered,
    held_apart,
)
from adwright.training.tuning.tune import TuneConfig
from adwright.tuning.methods import apply, load_tuned
from adwright.tuning.packing.joint_lora import share_base
from adwright.tuning.reparameterised.lora import LoRA
from tests.support.lm.tiny_llama import tiny_llama, tiny_tokenizer, tiny_tokens
from tests.support.training.tune_distributed import texts

pytest.importorskip("transformers")


#: Seconds of a layer, of the head, of a pass over answers, and what a prompt adds to it.
LAYER, HEAD, WRITING, READING = 0.012, 0.05, 0.03, 0.04


@dataclass
class Simulated:
    """Answers of `length` tokens in simulated time; any number in a pass, one prompt at a time."""

    length: int = 20
    now: float = 0.0
    arrivals: deque[float] = field(default_factory=deque)
    waiting: deque[float] = field(default_factory=deque)
    live: list[list[float]] = field(default_factory=list)
    firsts: list[float] = field(default_factory=list)
    gaps: list[float] = field(default_factory=list)

    def pending(self) -> Pending | None:
        while self.arrivals and self.arrivals[0] <= self.now:
            self.waiting.append(self.arrivals.popleft())
        if not self.waiting and not self.live:
            return None
        since = self.waiting[0] if self.waiting else None
        return Pending(len(self.live), since, 64 * len(self.waiting))

    def serve(self, prompt_tokens: int) -> None:
        assert prompt_tokens in (0, 64)
        reads = bool(self.waiting) and prompt_tokens > 0
        self.now += WRITING + (READING if reads else 0.0)
        for row in self.live:
            self.gaps.append(self.now - row[0])
            row[:] = [self.now, row[1] + 1]
        self.live = [row for row in self.live if row[1] < self.length]
        if reads:
            self.firsts.append(self.now - self.waiting.popleft())
            self.live.append([self.now, 1])


def tune_for(beside: Beside, work: Simulated, seconds: float) -> None:
    """Steps of thirty layers."""
    while work.now < seconds:
        for place in range(61):
            beside.border(str(place))
            work.now += HEAD if place == 30 else LAYER


def simulated(rate: float, seconds: float, **bounds: float) -> tuple[Beside, Simulated]:
    """Poisson arrivals."""
    drawn, at, work = random.Random(3), 0.0, Simulated()
    while (at := at + drawn.expovariate(rate)) < seconds:
        work.arrivals.append(at)
    beside = Beside(work, replace(Bounds(), **bounds), clock=lambda: work.now)  # type: ignore[arg-type]
    tune_for(beside, work, seconds)
    return beside, work


def worst(values: list[float]) -> float:
    """All but one in a hundred are below."""
    return sorted(values)[int(0.99 * len(values))]


@pytest.mark.parametrize("rate", [0.2, 0.6, 1.0])
def test_both_promises_are_kept_where_the_load_allows_it(rate: float) -> None:
    beside, work = simulated(rate, 300.0)
    assert len(work.firsts) > 40
    assert worst(work.gaps) < 0.2
    assert worst(work.firsts) < 0.6
    assert beside.times.share > 0.7


def test_under_a_load_that_is_too_high_the_bounds_go_before_the_share() -> None:
    beside, work = simulated(4.0, 120.0)
    assert beside.times.share < 0.7
    assert worst(work.gaps) < 0.2
    assert beside.times.due > 10 * beside.times.in_credit


def test_every_setting_matters() -> None:
    usual, work = simulated(0.5, 100.0)
    busy, quick = simulated(0.5, 100.0, share=0.99)
    lazy, slow = simulated(0.5, 100.0, share=0.99, token_bound=0.4)
    assert worst(slow.gaps) > worst(quick.gaps)
    assert lazy.times.share > busy.times.share
    eager, quick = simulated(0.5, 100.0, share=0.3)
    assert eager.times.in_credit > usual.times.in_credit
    assert sum(quick.gaps) < sum(work.gaps)
    short, _ = simulated(0.5, 100.0, burst=0.01)
    assert short.times.in_credit < usual.times.in_credit
    assert short.times.share > 0.7
    patient, late = simulated(0.5, 100.0, first_bound=5.0, token_bound=1.0, share=0.99, burst=0.01)
    assert 0.6 < worst(late.firsts) < 5.0
    assert patient.times.share > usual.times.share


def test_nothing_to_do_costs_nothing() -> None:
    work = Simulated()
    beside = Beside(work, clock=lambda: work.now)
    tune_for(beside, work, 3.0)
    assert beside.times.inference == 0
    assert beside.times.share == 1
    assert beside.times.longest == pytest.approx(HEAD)
    work.arrivals.append(work.now)
    beside.drain()
    assert work.pending() is None
    assert len(work.gaps) == 19


def test_settings_out_of_range_are_refused() -> None:
    with pytest.raises(ConfigError, match="driven by it"):
        ServedBeside(
            tiny_llama(), tiny_tokens(), name="base", config=ServingConfig(drive="callers")
        )


CONFIG = TuneConfig(steps=6, batch=4, micro=4, learning_rate=0.02)
PROMPTS = [[3, 4, 5, 6, 7], [8, 9, 10]]
GREEDY = GenerationConfig(max_tokens=6, temperature=0.0)
SERVING = ServingConfig(drive="outside", pool_bytes=1 << 20)


def answers(models: AdapterModels, name: str) -> list[list[int]]:
    """Tokens, with nobody tuning."""
    jobs = [models[name].row(list(prompt), GREEDY) for prompt in PROMPTS]
    models.submit(jobs)
    while models.step():
        pass
    return [job.tokens for job in jobs]


def test_tuning_and_answers_are_what_they_are_alone(tmp_path: Path) -> None:
    jobs = [
        Job("a", LoRA(rank=2), texts(10, 0), CONFIG, texts(4, 9)),
        Job("b", LoRA(rank=4, dropout=0.2), texts(8, 1), CONFIG),
    ]
    tune_jobs(tiny_llama(), jobs, tmp_path / "alone")
    wanted = {
        job.name: load_tuned(tiny_llama(), tmp_path / "alone" / job.name / "tuned").state()
        for job in jobs
    }
    model = tiny_llama()
    apply(share_base(model), LoRA(rank=2), seed=3).save(tmp_path / "part")
    plain = AdapterModels(tiny_llama(), tiny_tokens(), name="base", config=SERVING)
    models = ServedBeside(share_base(model), tiny_tokens(), name="base", config=SERVING)
    models.add("part", tmp_path / "part")
    beside = Beside(models)
    asked = [models[name].row(list(p), GREEDY) for name in ("base", "part") for p in PROMPTS]
    models.submit(asked)
    served: list[list[list[int]]] = []

    def done(name: str, _: object) -> None:
        models.add(name, tmp_path / "beside" / name / "tuned")
        served.append(answers(models, name))

    tune_jobs(model, jobs, tmp_path / "beside", border=beside.border, on_done=done)
    assert beside.times.due + beside.times.in_credit > 0
    beside.drain()
    assert models.pending() is None
    for job in jobs:
        found = load_tuned(tiny_llama(), tmp_path / "beside" / job.name / "tuned").state()
        assert all(torch.equal(found[key], value) for key, value in wanted[job.name].items())
    assert [job.tokens for job in asked[:2]] == answers(plain, "base")
    assert len(models.latencies.firsts) == 4
    assert len(models.latencies.gaps) == sum(
        len(j.tokens) - len(j.answer.prompt) - 1 for j in asked
    )
    assert len(served) == 2


def test_an_answer_whose_pages_were_taken_goes_on(tmp_path: Path) -> None:
    models = ServedBeside(tiny_llama(), tiny_tokens(), name="base", config=SERVING)
    asked = [models["base"].row(list(prompt), GREEDY) for prompt in PROMPTS]
    models.submit(asked)
    models.serve(64)
    models.serve(0)
    waiting = models.pending()
    assert waiting is not None
    assert (waiting.writing, waiting.since) == (2, None)
    models._scheduler._preempt(asked[1])
    waiting = models.pending()
    assert waiting is not None
    assert waiting.writing == 1
    assert waiting.since is not None
    assert waiting.prompt_tokens == len(asked[1].tokens)
    Beside(models).drain()
    assert all(len(job.tokens) == len(job.answer.prompt) + 6 for job in asked)


pytest.importorskip("transformers")


GREEDY_COSERVE_RUN = GenerationConfig(max_tokens=4, temperature=0.0)


@pytest.fixture
def asked(tmp_path: Path) -> JobsRun:
    file = tmp_path / "shop.jsonl"
    rows = [{"prompt": f"shop {n}", "answer": f"sale {n % 3}"} for n in range(9)]
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    config = TuneConfig(steps=8, batch=3, learning_rate=0.02)
    jobs = (
        JobRun("a", PairsConfig(file, valid=0.0), LoRA(rank=2), replace(config, steps=4)),
        JobRun("b", PairsConfig(file, valid=0.3), LoRA(rank=2, dropout=0.1), config, seed=2),
    )
    return JobsRun(jobs, "tiny", tmp_path / "run")


def opened(asked: JobsRun) -> tuple[LoadedJobs, ServedBeside]:
    model = tiny_llama()
    serving = ServingConfig(drive="outside", pool_bytes=1 << 20)
    models = ServedBeside(share_base(model), tiny_tokens(), name="base", config=serving)
    return LoadedJobs(asked, model, tiny_tokenizer()), models


def weights(out: Path, name: str) -> dict[str, torch.Tensor]:
    return load_tuned(tiny_llama(), out / name / "tuned").state()


def test_a_stopped_run_goes_on_with_the_same_bits(asked: JobsRun, tmp_path: Path) -> None:
    whole = replace(asked, out=tmp_path / "whole")
    opened(whole)[0].run()
    jobs, models = opened(asked)
    lines: list[str] = []
    with closing(models):
        thread = TuningThread(jobs, models, tell=lines.append)
        # Asked to stop before it begins, it makes one step.
        thread.start()
        thread.close()
    assert lines == ["2 jobs are not done; --resume goes on"]
    assert not (asked.out / "a").exists()
    check_coserving(asked, ["base"], resume=True)
    jobs, models = opened(asked)
    with closing(models):
        thread = TuningThread(jobs, models, resume=True, tell=lines.append, every=1e-9)
        thread.start()
        assert thread.wait(60)
        # All jobs are done, and it answers still.
        told = models["b"].generate(["shop 1"], GREEDY_COSERVE_RUN)
        assert len(told.texts) == 1
        thread.close()
    assert list(models) == ["base", "a", "b"]
    assert lines[-1] == "all jobs done"
    assert any(line.startswith("step 5: tuning had 100% of the time") for line in lines)
    assert any("nats on held texts" in line for line in lines)
    for name in ("a", "b"):
        found, wanted = weights(asked.out, name), weights(whole.out, name)
        assert all(torch.equal(found[key], value) for key, value in wanted.items())


def test_answers_go_on_where_the_tuning_fails(asked: JobsRun) -> None:
    asked.out.mkdir()
    (asked.out / "a").mkdir()
    jobs, models = opened(asked)
    lines: list[str] = []
    with closing(models):
        thread = TuningThread(jobs, models, tell=lines.append)
        thread.start()
        assert thread.wait(60)
        assert len(models["base"].generate(["shop"], GREEDY_COSERVE_RUN).texts) == 1
        with pytest.raises(ConfigError, match="there already"):
            thread.close()
    assert "the tuning failed" in lines[0]


def test_what_would_fail_later_is_refused(asked: JobsRun) -> None:
    check_coserving(asked, ["base"])
    lost = replace(asked.jobs[1], data=PairsConfig(Path("none.jsonl")))
    for wrong, names, key in (
        (replace(asked, jobs=()), [], "jobs"),
        (asked, ["b"], r"jobs\[1\].name"),
        (replace(asked, jobs=(asked.jobs[0], lost)), [], r"jobs\[1\].data.path"),
    ):
        with pytest.raises(ConfigError, match=key):
            check_coserving(wrong, names)
    with pytest.raises(ConfigError, match="no run to resume"):
        check_coserving(asked, [], resume=True)
    asked.out.mkdir()
    (asked.out / "config.json").write_text("{}")
    with pytest.raises(ConfigError, match="a run already"):
        check_coserving(asked, [])


class Letters:
    """A tokenizer whose tokens are letters."""

    eos_token_id = 1
    bos_token_id = 2

    def __init__(self, template: bool) -> None:
        self.chat_template = "yes" if template else None

    def __call__(self, text: str, *, add_special_tokens: bool) -> dict[str, list[int]]:
        assert not add_special_tokens
        return {"input_ids": [ord(letter) for letter in text]}

    def decode(self, tokens: list[int]) -> str:
        return "".join(chr(token) for token in tokens)

    def apply_chat_template(
        self, turns: list[dict[str, str]], *, tokenize: bool, add_generation_prompt: bool
    ) -> str:
        assert add_generation_prompt
        assert not tokenize
        return "".join(f"<{turn['role'][0]}{turn['content']}>" for turn in turns) + "<a"


def said(texts: Texts, row: int, tokenizer: Any) -> tuple[str, str]:
    return tokenizer.decode(texts.prompts[row]), tokenizer.decode(texts.answers[row])


def test_prompt_and_answer_stand_in_the_template() -> None:
    letters = Letters(template=True)
    texts = Texts.of([("what", "that"), ("who", "he")], letters, system="be brief")
    assert said(texts, 0, letters) == ("<sbe brief><uwhat><a", "that\x01")
    assert said(texts, 1, letters) == ("<sbe brief><uwho><a", "he\x01")
    assert texts.cut == 0
    assert texts.tokens == sum(texts.lengths.tolist()) == 24 + 5 + 19 + 3 - 4
    packed = texts.packed([1, 0])
    assert packed.answers == 8
    assert texts.some([1]).prompts == texts.prompts[1:]
    assert texts.some([0, 1]).data_hash == texts.data_hash != texts.some([1]).data_hash


def test_without_a_template_a_line_ends_the_prompt() -> None:
    letters = Letters(template=False)
    texts = Texts.of([("what", "that")], letters)
    assert said(texts, 0, letters) == ("\x02what\n", "that\x01")
    texts = Texts.of([("what", "that")], letters, system="be brief")
    assert said(texts, 0, letters) == ("\x02be brief\nwhat\n", "that\x01")


def test_of_a_long_prompt_the_users_words_lose_their_end() -> None:
    letters = Letters(template=True)
    texts = Texts.of([("abcdefghij", "yes")], letters, max_length=12)
    assert said(texts, 0, letters) == ("<uabc><a", "yes\x01")
    assert texts.cut == 1


def test_of_a_long_answer_the_end_goes() -> None:
    letters = Letters(template=False)
    texts = Texts.of([("a", "a long answer")], letters, max_length=6)
    assert said(texts, 0, letters) == ("\x02", "a lon")


@pytest.mark.parametrize("pair", [("", "that"), ("what", " ")])
def test_an_empty_text_is_refused(pair: tuple[str, str]) -> None:
    with pytest.raises(ValueInvalidError, match="row 1"):
        Texts.of([("what", "that"), pair], Letters(template=True))


def test_pairs_are_read(tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text('{"in": "a", "out": "b"}\n\n{"in": "c", "out": "d", "more": 1}\n', "utf-8")
    rows = PairsConfig(file, "in", "out").rows()
    assert rows == [TextRow("a", "b", "0"), TextRow("c", "d", "1")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "row 0.*no JSON|no JSON.*row 0"),
        ('{"prompt": "a"}', "answer"),
        ('{"prompt": "a", "answer": 3}', "answer"),
        ("[1]", "prompt"),
    ],
)
def test_a_wrong_file_says_where(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text(text, "utf-8")
    with pytest.raises(DataError, match=message):
        PairsConfig(file).rows()


def test_a_missing_file_says_which(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"none\.jsonl"):
        PairsConfig(tmp_path / "none.jsonl").rows()


@pytest.mark.parametrize("valid", [0.0, 0.3, 0.6])
def test_groups_are_held_out_whole_and_nothing_is_lost(tmp_path: Path, valid: float) -> None:
    file, letters = tmp_path / "pairs.jsonl", Letters(template=False)
    rows = [{"q": f"q{n}", "a": f"a{n}", "of": f"g{n % 5}"} for n in range(15)]
    file.write_text("\n".join(json.dumps(row) for row in rows), "utf-8")
    data = PairsConfig(file, prompt="q", answer="a", group="of", valid=valid)
    train, held = held_apart(data, letters, seed=1)
    whole = Texts.of([row[:2] for row in data.rows()], letters)
    groups = [
        {int(said(part, row, letters)[0][2:-1]) % 5 for row in range(len(part))}
        for part in (train, held)
    ]
    assert not groups[0] & groups[1]
    assert len(groups[1]) == round(valid * 5)
    assert sorted(train.prompts + held.prompts) == sorted(whole.prompts)
    again, _ = held_apart(data, letters, seed=1)
    assert again.data_hash == train.data_hash
    assert not valid or held_apart(data, letters, seed=3)[1].data_hash != held.data_hash


def test_a_file_that_leaves_nothing_to_train_on_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "pairs.jsonl"
    file.write_text("\n", "utf-8")
    with pytest.raises(DataError, match="no texts"):
        PairsConfig(file).rows()
    file.write_text('{"prompt": "a", "answer": "b"}\n', "utf-8")
    with pytest.raises(ConfigError, match="all texts are held out"):
        held_apart(PairsConfig(file, valid=0.9), Letters(template=False), 0)
    for wrong in ({"valid": 1.0}, {"valid": -0.1}, {"max_length": 7}):
        with pytest.raises(ConfigError, match="valid is a share below 1"):
            PairsConfig(file, **wrong)  # type: ignore[arg-type]


TALK = [
    {"role": "developer", "content": "be brief"},
    {"role": "user", "content": [{"type": "text", "text": "name "}, {"text": "a tea"}]},
    {"role": "assistant", "content": "green"},
    {"role": "user", "content": "another"},
    {"role": "assistant", "content": "black", "weight": 0},
    {"role": "user", "content": "a third"},
    {"role": "assistant", "content": "white"},
]


def read(messages: object) -> list[Any]:
    return asked_and_answered(messages, file="talk.jsonl", row=4, column="messages")


def test_each_answer_has_the_turns_before_it() -> None:
    found = read(TALK)
    assert [answer for _, answer in found] == ["green", "white"]
    assert found[0][0] == (ChatTurn("system", "be brief"), ChatTurn("user", "name a tea"))
    assert [turn.role for turn in found[1][0]] == ["system", *["user", "assistant"] * 2, "user"]
    assert found[1][0][4].content == "black"


@pytest.mark.parametrize(
    ("messages", "message"),
    [
        ("hello", "no list"),
        ([{"role": "user"}], "message 0, of the user, has no text"),
        ([{"role": "bot", "content": "x"}], "role 'bot'"),
        (["x"], "role None"),
        ([{"role": "user", "content": [{"type": "image_url"}]}], "has no text"),
        ([{"role": "user", "content": "x"}], "no answer to learn"),
        ([{"role": "system", "content": "x"}, {"role": "assistant", "content": "y"}], "nothing"),
        ([{"role": "user", "content": "x"}, {"role": "assistant", "content": None}], "no text"),
    ],
)
def test_what_is_no_conversation_is_named(messages: object, message: str) -> None:
    with pytest.raises(DataError, match=message) as caught:
        read(messages)
    assert "talk.jsonl, row 4, column messages" in str(caught.value)


def test_both_forms_may_stand_in_one_file(tmp_path: Path) -> None:
    file = tmp_path / "texts.jsonl"
    rows = [{"messages": TALK}, {"prompt": "p", "answer": "a"}, {"talk": TALK, "messages": 3}]
    lines = "\n".join(json.dumps(row) for row in rows[:2])
    file.write_text(lines, "utf-8")
    found = PairsConfig(file).rows()
    assert [(row.answer, row.group) for row in found] == [
        ("green", "0"),
        ("white", "0"),
        ("a", "1"),
    ]
    file.write_text(json.dumps(rows[2]), "utf-8")
    assert len(PairsConfig(file, messages="talk").rows()) == 2


def test_a_conversation_is_held_out_whole(tmp_path: Path) -> None:
    file, tokenizer = tmp_path / "texts.jsonl", tiny_tokenizer()
    talks = [[*TALK[:5], {"role": "user", "content": f"no {n}"}, TALK[6]] for n in range(4)]
    file.write_text("\n".join(json.dumps({"messages": talk}) for talk in talks), "utf-8")
    train, valid = held_apart(PairsConfig(file, valid=0.25), tokenizer, 0)
    assert (len(train), len(valid)) == (6, 2)
    text = tokenizer.decode(valid.prompts[1])
    assert text.startswith("<|begin|>system\nbe brief<|end|><|begin|>user\nname a tea<|end|>")
    assert text.endswith("<|end|><|begin|>assistant\n")
    assert tokenizer.decode(valid.answers[1]) == "white<|end|>"


def test_of_a_long_conversation_the_oldest_turns_go() -> None:
    tokenizer = tiny_tokenizer()
    pairs = read(TALK)
    whole = Texts.of(pairs, tokenizer)
    room = len(whole.prompts[1]) + len(whole.answers[1]) - 1
    cut = Texts.of(pairs, tokenizer, max_length=room)
    text = tokenizer.decode(cut.prompts[1])
    assert cut.cut == 1
    assert text.startswith("<|begin|>system\nbe brief<|end|><|begin|>user\nanother<|end|>")
    assert text.endswith("a third<|end|><|begin|>assistant\n")
    short = Texts.of(pairs, tokenizer, max_length=16)
    assert max(short.lengths) <= 16


def test_a_system_prompt_stands_where_there_is_none() -> None:
    tokenizer = tiny_tokenizer()
    talks = [(read(TALK)[0][0], "green"), (read(TALK[1:])[0][0], "green"), ("hi", "green")]
    texts = Texts.of(talks, tokenizer, system="be kind")
    begins = [tokenizer.decode(prompt).split("<|end|>")[0] for prompt in texts.prompts]
    assert begins == [f"<|begin|>system\nbe {how}" for how in ("brief", "kind", "kind")]


def test_turns_that_the_template_refuses_are_named() -> None:
    turns = (ChatTurn("user", "a"), ChatTurn("system", "b"))
    with pytest.raises(ValueInvalidError, match="the system speaks first") as caught:
        Texts.of([("x", "y"), (turns, "z")], tiny_tokenizer())
    assert "row 1" in str(caught.value)
