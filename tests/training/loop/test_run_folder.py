"""The folder of a run: begun once, resumed by the same alone, one checkpoint at a time."""

from __future__ import annotations

import json
import signal
import threading
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from adwright.core.artifacts import load_artifact, save_artifact
from adwright.core.clock import FixedClock
from adwright.core.errors import ConfigError, ResumeError
from adwright.training.loop.distributed import RowWise
from adwright.training.loop.run_folder import (
    Interrupts,
    RunFolder,
    RunPosition,
    different_settings,
    draw_curves,
    pack,
    unpack,
)
from tests.training.loop.test_loop import Line

ASKED = {"fit": {"epochs": 3, "stream": {"window": 8}}, "data_hash": "abc"}
TENSORS = {"model/w": torch.arange(6.0).view(2, 3), "adam/0/step": torch.tensor(3.0)}
LINE = {"epoch": 1, "recall": 0.5}


def begun(path: Path) -> RunFolder:
    run = RunFolder(path, ASKED, "test-checkpoint", about={"protocol": "made up"})
    run.begin(RunPosition(), {}, TENSORS)
    return run


def names(run: RunFolder) -> list[str]:
    return sorted(path.name for path in run.path.iterdir())


def test_a_folder_holds_one_run(tmp_path: Path) -> None:
    run = begun(tmp_path / "run")
    with pytest.raises(ConfigError, match=r"already holds a run.*resume it"):
        run.require_new()
    with pytest.raises(ConfigError, match=r"already holds a run"):
        run.begin(RunPosition(), {}, TENSORS)


def test_only_the_same_run_is_resumed(tmp_path: Path) -> None:
    path = tmp_path / "run"
    with pytest.raises(ResumeError, match=r"holds no run.*check the path"):
        RunFolder(path, ASKED, "test-checkpoint").require_same()
    # What is kept for readers alone may differ: another version resumes the run.
    begun(path).require_same()
    RunFolder(path, ASKED, "test-checkpoint", about={"protocol": "other"}).require_same()
    fit = {"epochs": 3, "stream": {"window": 9}}
    for asked, words in (
        ({**ASKED, "data_hash": "abd"}, "data_hash was 'abc' and is now 'abd'"),
        ({**ASKED, "fit": fit, "data_hash": ""}, "fit.stream.window was 8 and is now 9"),
        ({**ASKED, "validate": "given"}, "validate was None and is now 'given'"),
        ({"data_hash": "abc"}, "fit.epochs was 3 and is now None"),
    ):
        with pytest.raises(ResumeError, match=rf"another config, model or data: .*{words}"):
            RunFolder(path, asked, "test-checkpoint", about={"protocol": ""}).require_same()


def test_a_checkpoint_comes_back_as_it_was(tmp_path: Path) -> None:
    run = begun(tmp_path / "run")
    at = RunPosition(epoch=1, step=3, steps=7, loss_sum=0.1, best=0.4, records=(LINE,))
    own = {"position": {"window": 2}, "curve": [[3, 0.5]]}
    run.save(at, own, TENSORS, at.records)
    found, values, tensors = run.load()
    assert (found, values) == (at, own)
    assert {name: value.tolist() for name, value in tensors.items()} == {
        name: value.tolist() for name, value in TENSORS.items()
    }
    # Writable, since training goes on in them.
    tensors["model/w"] += 1
    (saved,) = run.path.glob("checkpoint-*")
    assert load_artifact(saved).data_hash == "abc"
    assert json.loads(run.metrics.read_text("utf-8")) == LINE


def test_only_the_latest_checkpoint_stays(tmp_path: Path) -> None:
    run = begun(tmp_path / "run")
    places = (
        RunPosition(steps=9),
        RunPosition(steps=9, records=(LINE,)),
        RunPosition(epoch=1, steps=9, records=(LINE,)),
        RunPosition(epoch=1, steps=10, records=(LINE,)),
        # A run that went back has fewer steps than before.
        RunPosition(epoch=1, steps=9, rollbacks=1, records=(LINE,)),
        RunPosition(epoch=1, steps=11, rollbacks=1, records=(LINE,)),
    )
    for at in places:
        run.save(at, {}, TENSORS, at.records)
        assert len(list(run.path.glob("checkpoint-*"))) == 1
        assert run.load()[0] == at
    # That place was kept already.
    run.save(places[-1], {"more": 1}, TENSORS)
    assert run.load()[1] == {}


def test_a_folder_without_a_checkpoint_or_of_another_kind_is_no_run(tmp_path: Path) -> None:
    run = begun(tmp_path / "run")
    for other in (
        RunFolder(run.path, ASKED, "other"),
        RunFolder(tmp_path / "nothing", ASKED, "test-checkpoint"),
    ):
        with pytest.raises(ResumeError, match=r"no checkpoint that can be read"):
            other.load()
    (saved,) = run.path.glob("checkpoint-*")
    data = bytearray((saved / "tensors.safetensors").read_bytes())
    data[-1] ^= 1
    (saved / "tensors.safetensors").write_bytes(data)
    with pytest.raises(ResumeError, match=r"no checkpoint that can be read.*SHA-256 differs"):
        run.load()


@pytest.mark.parametrize("text", ["", "{", "[]", "{}", '{"fit": 3, "data_hash": ""}'])
def test_a_damaged_config_is_no_run(tmp_path: Path, text: str) -> None:
    run = begun(tmp_path / "run")
    run.config.write_text(text)
    with pytest.raises(ResumeError, match="holds no run"):
        run.require_same()


def test_a_start_that_was_killed_is_no_run(tmp_path: Path) -> None:
    run = begun(tmp_path / "run")
    run.save(RunPosition(steps=3), {}, TENSORS)
    run.config.unlink()
    (run.path / ".config.json.0123456789abcdef.tmp").write_text("{")
    with pytest.raises(ResumeError, match="holds no run"):
        run.require_same()
    run.begin(RunPosition(), {}, TENSORS)
    assert names(run) == ["checkpoint-000000000-0000", "config.json", "metrics.jsonl"]


def test_what_a_kill_left_behind_goes(tmp_path: Path) -> None:
    run = begun(tmp_path / "run")
    first = next(run.path.glob("checkpoint-*"))
    kept = first.rename(tmp_path / "kept")
    run.save(RunPosition(steps=5), {}, TENSORS)
    kept.rename(first)
    (run.path / ".checkpoint-1.0123456789abcdef.tmp").mkdir()
    assert run.load()[0].steps == 5
    # Killed between the checkpoint and its lines, too.
    run.tidy([LINE])
    assert names(run) == ["checkpoint-000000005-0000", "config.json", "metrics.jsonl"]
    assert json.loads(run.metrics.read_text()) == LINE


def test_a_run_of_the_last_release_is_taken_up(tmp_path: Path) -> None:
    """Its checkpoint counted the lines of metrics.jsonl, or held them."""
    run = begun(tmp_path / "run")
    run.metrics.write_text(f"{json.dumps(LINE)}\n{json.dumps({'later': 1})}\n")
    old = {"batches": 7, "best_gauc": 0.6, "records": 1, "rows": 70}
    old["position"] = {"epoch": 1, "window": 0, "batch": 0}
    tensors = {name: value.numpy() for name, value in TENSORS.items()}
    save_artifact(
        run.path / "checkpoint-000000007-0001",
        kind="test-checkpoint",
        config=old,
        tensors=tensors,
        clock=FixedClock(),
    )
    at, own, found = run.load({"batches": "steps", "best_gauc": "best"})
    assert at == RunPosition(epoch=1, steps=7, best=0.6, records=(LINE,))
    assert own == {"rows": 70, "position": old["position"]}
    assert found.keys() == TENSORS.keys()
    later = {**asdict(at), "records": [LINE]}
    save_artifact(
        run.path / "checkpoint-000000008-0001",
        kind="test-checkpoint",
        config={"at": later, "own": {}, "more": 1},
        tensors=tensors,
    )
    with pytest.raises(ResumeError, match="more than is known: more"):
        run.load()


def folder_of(path: Path, asked: dict[str, Any]) -> RunFolder:
    about = {"protocol": "made up"}
    return RunFolder(path, asked, "test-checkpoint", about=about, grows=("fit.epochs",))


def test_all_settings_that_differ_are_named(tmp_path: Path) -> None:
    path = tmp_path / "run"
    begun(path)
    fit = {"epochs": 4, "stream": {"window": 9}}
    asked = {"fit": fit, "data_hash": "abd"}
    with pytest.raises(ResumeError) as caught:
        folder_of(path, asked).require_same()
    assert "fit.epochs was 3 and is now 4; fit.stream.window was 8 and is now 9 [" in str(
        caught.value
    )
    many = {f"s{n}": n for n in range(9)}
    with pytest.raises(ResumeError, match="; and 3 more"):
        folder_of(path, {**ASKED, **many}).require_same()


def test_of_some_settings_there_may_be_more(tmp_path: Path) -> None:
    path = tmp_path / "run"
    begun(path)
    more = {**ASKED, "fit": {"epochs": 5, "stream": {"window": 8}}}
    run = folder_of(path, more)
    run.require_same()
    assert run.grown == [("fit.epochs", 3, 5)]
    assert json.loads(run.config.read_text())["fit"]["epochs"] == 3
    run.tidy([])
    assert json.loads(run.config.read_text())["fit"]["epochs"] == 5
    folder_of(path, more).require_same()
    # Of thousands, such as of pictures, there may be parts.
    folder_of(path, {**ASKED, "fit": {"epochs": 5.5, "stream": {"window": 8}}}).require_same()
    less = folder_of(path, ASKED)
    with pytest.raises(ResumeError, match=r"epochs was 5 and is now 3.*--stop-now"):
        less.require_same()


def test_different_settings_are_flat_and_hashes_come_last() -> None:
    before = {"fit": {"whole": 1, "rate": 2}, "data_hash": "a"}
    now = {"fit": {"all": 2, "rate": 2}, "data_hash": "b"}
    assert different_settings(before, now, {"whole": "all"}) == [("fit.all", 1, 2)]
    now["fit"]["all"] = 1
    assert different_settings(before, now, {"whole": "all"}) == [("data_hash", "a", "b")]
    assert different_settings(now, now) == []
    assert different_settings({}, {"new": 1}) == [("new", None, 1)]


def points(path: Path) -> int:
    return path.read_text("utf-8").count('aria-roledescription="point"')


def test_losses_and_the_goal_have_panels_of_their_own(tmp_path: Path) -> None:
    path = tmp_path / "curves.svg"
    lines = []
    for number in range(3):
        curve = [[number * 10 + 5, 0.7 - 0.1 * number], [number * 10 + 10, 0.65 - 0.1 * number]]
        valid = {"valid_loss": 0.6, "valid_gauc": 0.5 + 0.1 * number}
        lines.append(
            {"batches": number * 10 + 10, "train_loss": 0.6, "train_curve": curve, **valid}
        )
    draw_curves(path, lines, "valid_gauc")
    text = path.read_text("utf-8")
    assert text.startswith("<svg")
    for word in ("Loss", "valid_gauc", "training", "validation", "Steps"):
        assert word in text
    # Six points of the training curve, three of each validation curve.
    assert points(path) == 12


def press() -> None:
    signal.raise_signal(signal.SIGINT)


def step_in_which(held: Interrupts, done: list[str], times: int) -> None:
    """Take a step in which Ctrl-C is pressed so many times."""
    with held.step():
        for _ in range(times):
            press()
        done.append("the rest of the step")


def test_a_step_is_ended_first() -> None:
    held, done = Interrupts(), list[str]()
    with held.watched():
        with pytest.raises(KeyboardInterrupt):
            step_in_which(held, done, 1)
        assert held.whole
    assert done == ["the rest of the step"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_second_one_ends_the_step() -> None:
    held, done = Interrupts(), list[str]()
    with held.watched(), pytest.raises(KeyboardInterrupt):
        step_in_which(held, done, 2)
    assert done == []
    assert not held.whole


def test_between_two_steps_it_comes_at_once() -> None:
    held = Interrupts()
    with held.watched():
        with held.step():
            pass
        with pytest.raises(KeyboardInterrupt):
            press()
        assert held.whole


def test_several_processes_and_handlers_of_others_are_left_alone() -> None:
    held = Interrupts()
    with held.watched(alone=False):
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        with pytest.raises(KeyboardInterrupt), held.step():
            press()
        assert not held.whole
    seen: list[Any] = []
    before = signal.signal(signal.SIGINT, lambda *_: seen.append("mine"))
    try:
        with held.watched(), held.step():
            press()
    finally:
        signal.signal(signal.SIGINT, before)
    assert seen == ["mine"]
    assert not held.whole


def test_another_thread_may_train() -> None:
    held, found = Interrupts(), []

    def work() -> None:
        with held.watched(), held.step():
            found.append(held.whole)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert found == [False]


def test_steps_validations_and_epochs_are_counted() -> None:
    at = RunPosition().after(3.0, 10).after(5.0, 10)
    assert (at.step, at.steps, at.mean_loss) == (2, 2, 0.4)
    better = at.validated(0.7, {"goal": 0.7}, better=True)
    assert (better.best, better.best_epoch, better.best_step) == (0.7, 1, 2)
    assert (better.loss_count, better.worse, better.records) == (0, 0, ({"goal": 0.7},))
    worse = better.next_epoch().after(1.0, 1).validated(0.6, {"goal": 0.6}, better=False)
    assert (worse.best, worse.best_epoch, worse.worse, len(worse.records)) == (0.7, 1, 1, 2)
    assert (worse.epoch, worse.step, worse.steps) == (1, 1, 3)
    assert RunPosition().mean_loss == 0


def test_a_position_comes_back_from_plain_values() -> None:
    at = RunPosition(epoch=2, steps=9, best=0.5, records=({"a": 1},))
    plain = {**asdict(at), "records": [{"a": 1}]}
    assert RunPosition.from_plain(plain) == at
    with pytest.raises(TypeError):
        RunPosition.from_plain({**plain, "later": 1})


def test_checkpoints_of_the_last_release_are_understood() -> None:
    """As the trainers of rankers, retrievers and adapters each wrote them."""
    ranker = {
        "position": {"epoch": 1, "window": 2, "batch": 3},
        **{"batches": 7, "rows": 70, "loss_sum": 0.5, "loss_rows": 10, "best_gauc": 0.6},
        **{"best_epoch": 1, "worse": 1, "records": [{"valid_gauc": 0.6}], "curve": [[3, 0.5]]},
    }
    names = {"batches": "steps", "loss_rows": "loss_count", "best_gauc": "best"}
    at, own = RunPosition.from_last_release(ranker, names)
    assert at == RunPosition(
        epoch=1,
        steps=7,
        loss_sum=0.5,
        loss_count=10,
        best=0.6,
        best_epoch=1,
        worse=1,
        records=({"valid_gauc": 0.6},),
    )
    assert own == {"position": ranker["position"], "rows": 70, "curve": [[3, 0.5]]}
    retriever = {"epoch": 1, "step": 2, "steps": 12, "pairs": 5, "records": []}
    at, own = RunPosition.from_last_release(retriever, {"pairs": "loss_count"})
    assert (at, own) == (RunPosition(epoch=1, step=2, steps=12, loss_count=5), {})
    adapter = {"step": 4, "answers": 9, "tokens": 99, "seconds": 1.5, "failed": "", "records": []}
    at, own = RunPosition.from_last_release(adapter, {"step": "steps", "answers": "loss_count"})
    assert at == RunPosition(steps=4, loss_count=9)
    assert own == {"tokens": 99, "seconds": 1.5, "failed": ""}


def test_packed_state_comes_back() -> None:
    def build(seed: int) -> tuple[nn.Module, dict[str, torch.optim.Optimizer]]:
        torch.manual_seed(seed)
        model = nn.ModuleDict({"table": nn.Embedding(5, 2, sparse=True), "linear": nn.Linear(2, 1)})
        model.register_buffer("catalogue", torch.arange(9))
        linear = list(model["linear"].parameters())
        rows = RowWise([model["table"].weight], learning_rate=0.1, rule="adam")
        return model, {"adam": torch.optim.Adam(linear, lr=0.1), "rows": rows}

    model, optimisers = build(0)
    best = {name: value.clone() for name, value in model.state_dict().items()}
    for _ in range(3):
        model.zero_grad()
        model["linear"](model["table"](torch.tensor([1, 3, 3]))).sum().backward()
        for optimiser in optimisers.values():
            optimiser.step()
    packed = pack(model, best, optimisers)
    # What never changes is kept once.
    assert "model/catalogue" in packed
    assert {name for name in packed if name.startswith("best/")} == {
        *("best/table.weight", "best/linear.weight", "best/linear.bias")
    }
    other, others = build(1)
    found = unpack(packed, other, others)
    assert found.keys() == best.keys()
    assert all(torch.equal(found[name], value) for name, value in best.items())
    again = pack(other, found, others)
    assert again.keys() == packed.keys()
    assert all(torch.equal(again[name], value) for name, value in packed.items())
    with pytest.raises(ValueError, match="is of another model"):
        unpack(packed, nn.Linear(2, 1), {})


def test_an_optimiser_in_bfloat16_loses_nothing() -> None:
    layer = nn.Linear(2, 1)
    optimiser = torch.optim.Adam(layer.parameters(), lr=0.1)
    layer(torch.ones(1, 2)).sum().backward()
    optimiser.step()
    state = optimiser.state[layer.weight]
    state["exp_avg"] = state["exp_avg"].bfloat16()
    packed = pack(layer, {}, {"adam": optimiser})
    assert packed["adam/0/exp_avg"].dtype == torch.float32
    assert torch.equal(packed["adam/0/exp_avg"].bfloat16(), state["exp_avg"])


def test_without_a_loss_a_trainee_says_so() -> None:
    class Bare(Line):
        loss = Line.__mro__[1].loss  # the default

    with pytest.raises(NotImplementedError):
        Bare().gradients(torch.zeros(1, 1), RunPosition())
