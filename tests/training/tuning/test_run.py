"""run_tuning() and run_jobs(): from a file to adapters that are saved and measured."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from adwright.core.artifacts import load_artifact
from adwright.core.config import load_toml
from adwright.core.errors import ConfigError, DataError
from adwright.training.tuning.tune import TuneConfig
from tests.support.lm.tiny_llama import save_tiny

from adwright.tuning.selective import DiffPruning  # isort: skip
from adwright.tuning.selective import FishMask  # isort: skip
from adwright.tuning.selective import LTSFT  # isort: skip
from adwright.tuning.methods import load_tuned

from adwright.tuning.methods import method_of  # isort: skip
from adwright.training.tuning import run as tune_pipeline  # isort: skip
from adwright.training.tuning.texts import PairsConfig  # isort: skip
from adwright.training.tuning.run import JobRun, JobsRun, TuneRun, read_jobs, run_jobs, run_tuning

from adwright.tuning.efficient import LoRAFA  # isort: skip
from adwright.tuning.reparameterised.lora import LoRA  # isort: skip
from tests.support.forks import programs, python


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny(tmp_path_factory.mktemp("base") / "model")


@pytest.fixture
def asked(base: Path, tmp_path: Path) -> TuneRun:
    file = tmp_path / "pairs.jsonl"
    rows = [
        {"prompt": f"shop {n}", "answer": f"sale {n % 3}", "of": f"g{n % 4}"} for n in range(12)
    ]
    file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    return TuneRun(
        data=PairsConfig(file, group="of", valid=0.25),
        model=str(base),
        tune=TuneConfig(epochs=4, batch=3, learning_rate=0.02),
        out=tmp_path / "out",
    )


def test_what_is_saved_is_what_was_measured(asked: TuneRun, base: Path) -> None:
    from transformers import AutoModelForCausalLM

    report = run_tuning(asked)
    assert (report.texts, report.held, report.steps) == (9, 3, 12)
    assert report.base_nll is not None
    assert report.valid_nll is not None
    assert report.valid_nll < report.base_nll
    stored = json.loads((asked.out / "report.json").read_text("utf-8"))
    assert stored["valid_nll"] == report.valid_nll
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    assert load_tuned(model, asked.out / "tuned").count() == report.trainable


def test_groups_are_held_whole(asked: TuneRun) -> None:
    report = run_tuning(replace(asked, data=replace(asked.data, valid=0.5)))
    assert (report.texts, report.held) == (6, 6)
    report = run_tuning(replace(asked, data=replace(asked.data, valid=0.0), out=asked.out / "all"))
    assert report.valid_nll is None
    assert report.texts == 12


def looks(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, ...]]:
    """The texts that are shown to a method from now on, in their order."""
    shown: list[tuple[int, ...]] = []
    kept = tune_pipeline.answer_loss_of

    def watched(tuned: Any, packed: Any) -> torch.Tensor:
        shown.append(tuple(packed.ids.tolist()))
        return kept(tuned, packed)

    monkeypatch.setattr(tune_pipeline, "answer_loss_of", watched)
    return shown


def test_methods_that_look_first_are_shown_all_texts(
    asked: TuneRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = [{"prompt": f"shop {n}", "answer": f"sale {n % 3}"} for n in range(50)]
    asked.data.path.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
    asked = replace(asked, data=replace(asked.data, group="", valid=0.1))
    asked = replace(asked, tune=replace(asked.tune, steps=1))
    shown = looks(monkeypatch)

    def run(name: str, method: Any, seed: int = 0) -> list[tuple[int, ...]]:
        shown.clear()
        run_tuning(replace(asked, method=method, seed=seed, out=asked.out / name))
        return list(shown)

    # 45 texts, of which many methods would want more.
    fish = run("fish", FishMask())
    assert len(fish) == len(set(fish)) == 45
    assert run("few", FishMask(samples=40)) == fish[:40]
    assert run("lottery", LTSFT(steps=100)) == [*fish, *fish, *fish[:10]]
    again = run("other", FishMask(), seed=1)
    assert (len(again), len(set(again) & set(fish)) > 30) == (45, True)
    assert again != fish != sorted(fish)


PRUNED = DiffPruning(fraction=0.02)


def numbers(folder: Path) -> dict[str, torch.Tensor]:
    return {k: torch.from_numpy(v.copy()) for k, v in load_artifact(folder).tensors.items()}


def test_what_is_left_of_a_pruned_method_is_trained_and_saved(asked: TuneRun, base: Path) -> None:
    from transformers import AutoModelForCausalLM

    asked = replace(asked, method=PRUNED)
    report = run_tuning(asked)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
    part = load_tuned(model, asked.out / "tuned")
    pruned = replace(PRUNED, pruned=True)
    assert part.method == pruned
    stored = numbers(asked.out / "tuned")
    values = sum(len(value) for name, value in stored.items() if name.endswith(".values"))
    assert values == part.count() == report.trainable == pruned.count(part.sizes)
    assert len(stored) == 2 * len(part.places(PRUNED.targets))
    once = run_tuning(replace(asked, method=method_of({"rank": 2}), out=asked.out / "once"))
    assert (report.steps, report.tokens) == (2 * once.steps, 2 * once.tokens)
    lines = [
        [json.loads(line) for line in (asked.out / name / "metrics.jsonl").read_text().splitlines()]
        for name in ("run", "run-pruned")
    ]
    assert [len(each) for each in lines] == [4, 4]
    assert report.valid_nll == min(line["valid_nll"] for line in lines[1])
    assert report.cpu_seconds >= sum(each[-1]["cpu_seconds"] for each in lines) - 0.02


class _Cut(Exception):
    pass


def cut_off(monkeypatch: pytest.MonkeyPatch, run: str, after: int) -> Callable[[], None]:
    """Trainings in `run` end after so many steps from now on; returns what heals them."""
    kept = tune_pipeline.tune

    def short(tuned: Any, train: Any, config: Any, folder: Path, **rest: Any) -> Any:
        def stop(step: int) -> None:
            if folder.name == run and step == after:
                raise _Cut

        return kept(tuned, train, config, folder, on_step=stop, **rest)

    monkeypatch.setattr(tune_pipeline, "tune", short)
    return lambda: monkeypatch.setattr(tune_pipeline, "tune", kept)


def test_a_resumed_run_reports_what_an_undisturbed_one_does(
    asked: TuneRun, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in training, and killed when the adapter is written and the report is not."""
    clocked = {"cpu_seconds": 0.0, "tokens_per_cpu_second": 0.0, "peak_bytes": 0}
    whole = replace(run_tuning(replace(asked, out=asked.out / "whole")), **clocked)
    assert whole.base_nll is not None
    heal = cut_off(monkeypatch, "run", 5)
    with pytest.raises(_Cut):
        run_tuning(asked)
    heal()
    assert replace(run_tuning(asked, resume=True), **clocked) == whole
    (asked.out / "report.json").unlink()
    assert replace(run_tuning(asked, resume=True), **clocked) == whole
    assert (asked.out / "report.json").is_file()


@pytest.mark.parametrize(
    ("method", "run"),
    [(PRUNED, "run"), (PRUNED, "run-pruned"), (FishMask(0.02), "run"), (LTSFT(0.02), "run")],
    ids=["dense", "pruned", "fish", "lottery"],
)
def test_a_cut_in_any_training_changes_nothing(
    asked: TuneRun, monkeypatch: pytest.MonkeyPatch, method: Any, run: str
) -> None:
    config = replace(asked.tune, checkpoint_every=2)
    asked = replace(asked, method=method, tune=config)
    whole = run_tuning(replace(asked, out=asked.out / "whole"))
    heal = cut_off(monkeypatch, run, after=5)
    half = replace(asked, out=asked.out / "half")
    with pytest.raises(_Cut):
        run_tuning(half)
    assert (half.out / "run-pruned").exists() == (run == "run-pruned")
    assert not (half.out / "tuned").exists()
    heal()
    taken_up = run_tuning(half, resume=True)
    assert (taken_up.valid_nll, taken_up.steps) == (whole.valid_nll, whole.steps)
    wanted, found = (numbers(asked.out / name / "tuned") for name in ("whole", "half"))
    assert set(found) == set(wanted)
    assert all(torch.equal(found[name], value) for name, value in wanted.items())


def test_a_second_training_that_is_there_is_not_mixed_in(asked: TuneRun) -> None:
    asked = replace(asked, method=PRUNED, tune=replace(asked.tune, steps=1))
    run_tuning(asked)
    shutil.rmtree(asked.out / "run")
    with pytest.raises(ConfigError, match="already holds a run") as caught:
        run_tuning(asked)
    assert "run-pruned" in str(caught.value)
    assert not (asked.out / "run").exists()


def test_two_processes_of_the_verb_prune_what_one_does(asked: TuneRun, base: Path) -> None:
    options = ["tune", "--data", str(asked.data.path), "--model", str(base)]
    options += ["--method", "DiffPruning", "--set", "fraction=0.02", "--group", "of"]
    command = [python(), "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    command += ["--no-python", str(programs() / "adwright"), *options]
    command += ["--out", str(asked.out), "--shard"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    data = PairsConfig(asked.data.path, group="of")
    plain = replace(asked, method=PRUNED, tune=TuneConfig(), data=data)
    alone = run_tuning(replace(plain, out=asked.out / "one"))
    two = json.loads((asked.out / "report.json").read_text("utf-8"))
    assert (two["trainable"], two["steps"]) == (alone.trainable, alone.steps)
    assert (two["texts"], two["held"], alone.steps) == (alone.texts, alone.held, 2 * 2)
    # Products are rounded to bfloat16, in other batches.
    assert two["valid_nll"] == pytest.approx(alone.valid_nll, abs=1e-2)
    stored = numbers(asked.out / "tuned")
    assert sum(len(v) for k, v in stored.items() if k.endswith(".values")) == alone.trainable


def test_a_finished_part_is_replaced_when_asked(asked: TuneRun) -> None:
    first = run_tuning(asked)
    other = replace(asked, tune=replace(asked.tune, steps=1))
    assert run_tuning(other, overwrite=True).steps == 1 != first.steps
    assert run_tuning(other, resume=True).steps == 1


def test_what_cannot_be_tuned_leaves_the_run_that_is_there(asked: TuneRun) -> None:
    run_tuning(asked)
    away = replace(asked, data=replace(asked.data, path=asked.out / "away.jsonl"))
    with pytest.raises(DataError):
        run_tuning(away, overwrite=True)
    assert run_tuning(asked, resume=True).steps


def test_a_run_file_names_its_method(tmp_path: Path) -> None:
    file = tmp_path / "run.toml"
    file.write_text(
        '[data]\npath = "a.jsonl"\n[method]\nkind = "SerialAdapter"\nsize = 4\n', "utf-8"
    )
    assert load_toml(file, TuneRun).method == method_of({"kind": "SerialAdapter", "size": 4})


def test_mistakes_are_explained(asked: TuneRun, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="magic"):
        method_of({"kind": "magic"})
    with pytest.raises(ConfigError, match="share"):
        PairsConfig(tmp_path, valid=1.0)
    with pytest.raises(ConfigError, match="all texts are held out"):
        run_tuning(replace(asked, data=replace(asked.data, valid=0.99)))
    empty = tmp_path / "empty.jsonl"
    empty.write_text("\n", "utf-8")
    with pytest.raises(DataError, match="no texts"):
        run_tuning(replace(asked, data=PairsConfig(empty)))


@pytest.fixture
def several(base: Path, tmp_path: Path) -> JobsRun:
    """Two jobs on twelve texts each."""
    runs = []
    for number, method in enumerate((LoRA(rank=2), LoRAFA(rank=3))):
        file = tmp_path / f"shop-{number}.jsonl"
        rows = [{"prompt": f"shop {n}", "answer": f"sale {n % (3 + number)}"} for n in range(12)]
        file.write_text("".join(f"{json.dumps(row)}\n" for row in rows), "utf-8")
        config = TuneConfig(epochs=2 + number, batch=3, learning_rate=0.02)
        data = PairsConfig(file, valid=0.25)
        runs.append(JobRun(f"shop-{number}", data, method, config, seed=number))
    return JobsRun(tuple(runs), str(base), tmp_path / "out")


def test_each_job_is_reported_as_it_is_alone(several: JobsRun, base: Path) -> None:
    from transformers import AutoModelForCausalLM

    reports = run_jobs(several)
    for one in several.jobs:
        alone = run_tuning(
            TuneRun(
                data=one.data,
                method=one.method,
                model=several.model,
                tune=one.tune,
                seed=one.seed,
                out=several.out / "alone" / one.name,
            )
        )
        found = reports[one.name]
        same = ("method", "settings", "trainable", "steps", "tokens", "texts", "held", "data_hash")
        assert [getattr(found, name) for name in same] == [getattr(alone, name) for name in same]
        assert found.base_nll == pytest.approx(alone.base_nll, rel=1e-2)
        assert found.valid_nll == pytest.approx(alone.valid_nll, rel=2e-2)
        stored = json.loads((several.out / one.name / "report.json").read_text("utf-8"))
        assert stored["valid_nll"] == found.valid_nll
        model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32)
        assert load_tuned(model, several.out / one.name / "tuned").count() == found.trainable
    again = run_jobs(several, resume=True)
    assert {n: replace(r, peak_bytes=0) for n, r in again.items()} == {
        n: replace(r, peak_bytes=0) for n, r in reports.items()
    }


def test_a_file_names_the_jobs(tmp_path: Path) -> None:
    toml, plain = tmp_path / "jobs.toml", tmp_path / "jobs.json"
    toml.write_text(
        'out = "here"\n[[jobs]]\nname = "a"\nseed = 3\ndata = { path = "a.jsonl", valid = 0.0 }\n'
        'method = { kind = "LoRAFA", rank = 2 }\ntune = { epochs = 2 }\n',
        "utf-8",
    )
    wanted = JobsRun(
        (JobRun("a", PairsConfig(Path("a.jsonl"), valid=0.0), LoRAFA(2), TuneConfig(2), 3),),
        out=Path("here"),
    )
    assert read_jobs(toml) == wanted
    job = {
        "name": "a",
        "seed": 3,
        "data": {"path": "a.jsonl", "valid": 0.0},
        "method": {"kind": "LoRAFA", "rank": 2},
        "tune": {"epochs": 2},
    }
    plain.write_text(json.dumps({"out": "here", "jobs": [job]}), "utf-8")
    assert read_jobs(plain) == wanted


def test_a_file_that_is_wrong_is_explained(tmp_path: Path) -> None:
    file = tmp_path / "jobs.json"
    for text, message in (
        ("[]", "no table"),
        ("{", "cannot be read"),
        ('{"jobs": [{"name": "a"}]}', "data"),
        ('{"jobs": [], "speed": 1}', "speed"),
    ):
        file.write_text(text, "utf-8")
        with pytest.raises(ConfigError, match=message):
            read_jobs(file)
    with pytest.raises(ConfigError):
        read_jobs(tmp_path / "none.toml")


def test_on_ray_the_workers_tune_the_same_model(asked: TuneRun, tmp_path: Path) -> None:
    given = dict[str, Any]()
    alone = run_tuning(replace(asked, out=tmp_path / "alone"))

    def tune_on_ray(make: Any, texts: Any, config: Any, where: Path, **rest: Any) -> Any:
        valid = rest.pop("valid")
        given.update(rest)
        # It travels to the workers.
        assert pickle.dumps(make)
        tuned = make()
        return tuned, tune_pipeline.tune(tuned, texts, config, where, valid=valid)

    there = run_tuning(replace(asked, out=tmp_path / "ray"), tune_with=tune_on_ray)
    assert given == {"resume": False}
    same = ("valid_nll", "base_nll", "steps", "tokens", "trainable", "data_hash")
    assert [getattr(there, name) for name in same] == [getattr(alone, name) for name in same]
    one, two = (numbers(tmp_path / name / "tuned") for name in ("alone", "ray"))
    assert all(torch.equal(two[name], value) for name, value in one.items())


def tune_on_nobody(*_: Any, **__: Any) -> Any:
    raise AssertionError


@pytest.mark.parametrize(
    "changes", [{"method": PRUNED}, {"quantise": "nf4"}], ids=["twice", "four bits"]
)
def test_what_ray_cannot_do_is_refused(asked: TuneRun, changes: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="Ray's workers train once"):
        run_tuning(replace(asked, **changes), tune_with=tune_on_nobody)
    assert not asked.out.exists()


def test_two_jobs_of_one_name_are_refused(several: JobsRun) -> None:
    first, second = several.jobs
    with pytest.raises(ConfigError, match="one name"):
        run_jobs(replace(several, jobs=(first, replace(second, name=first.name))))
