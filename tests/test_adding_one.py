"""What is added to the house touches its own file and one union, and is then there for all."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import polars as pl
import pytest

from benchmarks.common.adding import ADDITIONS, SRC, counts
from benchmarks.common.adding.copied import copied, files_touched
from tests.support.data.ranking_task import shop_task
from tests.support.data.small_creatives import small_creatives
from tests.support.data.small_sequences import small_sequences
from tests.support.forks import python

Run = Callable[..., str]
VERB = ("-c", "from adwright.cli import main; main()")


@contextmanager
def added(kind: str, folder: Path) -> Iterator[Run]:
    """Run Python in `folder` on a copy of the source with a made-up one of this kind."""
    with copied(SRC, compiled=True) as copy:
        ADDITIONS[kind](copy)

        def run(*arguments: str) -> str:
            found = subprocess.run(
                [python(), *arguments],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": str(copy.src), "COLUMNS": "200"},
                capture_output=True,
                text=True,
                check=False,
            )
            assert found.returncode == 0, found.stdout + found.stderr
            return found.stdout + found.stderr

        yield run


def test_each_addition_touches_its_own_file_and_one_more() -> None:
    kinds = set(ADDITIONS) - {"platform"}
    assert counts() == {**dict.fromkeys(kinds, 2), "platform": 1}


@pytest.mark.parametrize("kind", ADDITIONS)
def test_a_place_that_is_not_there_is_told(kind: str, tmp_path: Path) -> None:
    with copied(SRC) as copy:
        ADDITIONS[kind](copy)
        for path in copy.touched:
            if (SRC / path).is_file():
                (copy.src / path).write_text("")
            else:
                (copy.src / path).unlink()
        with pytest.raises(ValueError, match="0 times"):
            files_touched(copy.src, ADDITIONS[kind])
    with pytest.raises(FileNotFoundError):
        counts(tmp_path)


RANKER_RUN = """seed = 3
draws = 20
out = "out"
[task]
kind = "folder"
folder = "task"
[model]
kind = "mean"
mlp_hidden = [8]
[model.embedding]
width = 4
[fit]
epochs = 1
learning_rate = 0.01
"""
RANKER_USE = """
from adwright.data.tasks.negatives import Draws
from adwright.delivery.cascade.build import BuildConfig
from adwright.core.config import from_jsonable, to_jsonable
from adwright.models.ranking.mean import MeanConfig
asked = BuildConfig(fine=MeanConfig())
assert from_jsonable(BuildConfig, to_jsonable(asked)) == asked

from typer.testing import CliRunner
from adwright.cli import app
measured = CliRunner().invoke(app, ["--quiet", "evaluate", "out/ranker", "--task", "task"])
assert measured.exit_code == 0, measured.output
assert "gauc" in measured.output
refused = CliRunner().invoke(app, ["--quiet", "export", "out/ranker", "onnx"])
assert refused.exit_code == 2, refused.output
assert "only DIN" in refused.output
"""


def test_a_ranker_is_trained_saved_loaded_and_measured(tmp_path: Path) -> None:
    shop_task(tmp_path / "task", users=10)
    (tmp_path / "run.toml").write_text(RANKER_RUN)
    with added("ranker", tmp_path) as run:
        told = run(*VERB, "--quiet", "train", "run.toml")
        assert all(name in told for name in ("Mean", "Base", "popularity"))
        config = json.loads((tmp_path / "out" / "ranker" / "manifest.json").read_text())["config"]
        assert config["model"]["kind"] == "mean"
        run("-c", RANKER_USE)


SEQUENCE_RUN = """seed = 3
draws = 20
threads = 1
[data]
kind = "events"
path = "events.csv"
[model]
width = 8
max_length = 16
[fit]
epochs = 1
learning_rate = 0.01
"""
SEQUENCE_USE = """
from dataclasses import replace
from pathlib import Path
from adwright.core.errors import ConfigError
from adwright.models.sequential.mean import MeanSequence
from adwright.training.sequential.artifact import SequenceArtifact
from adwright.training.sequential.artifact import export_sequence
from adwright.training.sequential.ranks import rank_next
from adwright.training.sequential.runfile import SequenceDataConfig, open_sequences
artifact = SequenceArtifact.load("runs/mean/model")
assert type(artifact.model) is MeanSequence
data = open_sequences(SequenceDataConfig("events", Path("events.csv")))
unseen = artifact.report.protocol.seen_items == "removed"
sequences = replace(data.sequences, train_ends=None)
ranks = rank_next(artifact.model, sequences, "test", unseen=unseen).ranks
assert len(ranks.ranks) == artifact.report.rows
assert artifact.vectors.shape == (len(artifact.ids) + 1, 8 + artifact.model.config.popularity)
try:
    export_sequence(artifact, "onnx")
except ConfigError as error:
    assert "no network to export" in str(error)
else:
    raise SystemExit("it was exported")
"""


def test_a_sequence_model_is_trained_saved_loaded_and_measured(tmp_path: Path) -> None:
    walks = small_sequences()
    user = [walks.users[u] for u in range(len(walks)) for _ in range(*walks.offsets[u : u + 2])]
    items = [walks.ids[code - 1] for code in walks.item]
    table = pl.DataFrame({"user_id": user, "item_id": items, "time": walks.time})
    table.write_csv(tmp_path / "events.csv")
    (tmp_path / "run.toml").write_text(SEQUENCE_RUN)
    with added("sequence_model", tmp_path) as run:
        told = run(*VERB, "train", "sequence", "run.toml", "--model", "mean")
        assert "Saved in runs/mean/model as" in told
        report = json.loads((tmp_path / "runs/mean/report.json").read_text())
        assert list(report["reports"]) == [
            *("Mean", "Popularity", "Popularity lately", "Personal frequency"),
            *("Last items again", "Item-item"),
        ]
        run("-c", SEQUENCE_USE)


CLICKS_USE = """
from pathlib import Path
import numpy as np
from adwright.creative.judges import open_judge
from adwright.creative.response.fit import train_clicks
from adwright.creative.response.inputs import encoded_texts
from adwright.creative.response.outcomes import OutcomeColumns, read_outcomes
outcomes = read_outcomes("clicks.csv", OutcomeColumns(test="test"))
run = train_clicks(outcomes, Path("runs"), texts=encoded_texts("hashed"))
assert "weighed" in run.model.told["values"]
found = open_judge("runs").judge(outcomes.records).value
np.testing.assert_allclose(found, run.model.judge(outcomes.records).value, rtol=1e-6)
"""


def test_a_candidate_of_click_rates_is_tried_saved_and_opened(tmp_path: Path) -> None:
    made = small_creatives(40)
    table = {"title": [one.title for one in made.records], "test": made.tests}
    counts = {"impressions": made.impressions, "clicks": made.clicks}
    pl.DataFrame({**table, **counts}).write_csv(tmp_path / "clicks.csv")
    with added("click_model", tmp_path) as run:
        run("-c", CLICKS_USE)


METHOD_USE = """
import torch
from transformers import AutoModelForCausalLM
from typer.testing import CliRunner

from adwright.cli import app
from adwright.training.tuning.run import PACKABLE
from adwright.tuning.methods import load_tuned
from adwright.tuning.reparameterised.gain_lora import GainLoRA
from adwright.tuning.methods import tree


def said(*arguments):
    found = CliRunner().invoke(app, ["tune", *arguments])
    assert found.exit_code == 0, found.output
    return found.output


(entry,) = (entry for entry in tree() if entry.by is GainLoRA)
assert (entry.name, entry.status) == ("GainLoRA", "ours")
assert "| GainLoRA | ours | `GainLoRA` | made up |" in said("methods")
assert "GainLoRA" in PACKABLE
options = ["--data", "pairs.jsonl", "--model", "base", "--out", "out", "--steps", "1"]
assert "GainLoRA" in said(*options, "--method", "GainLoRA", "--set", "rank=2")

tuned = load_tuned(AutoModelForCausalLM.from_pretrained("base", dtype="float32"), "out/tuned")
assert tuned.method == GainLoRA(rank=2)
assert tuned.count() == tuned.method.count(tuned.sizes)
assert any(name.endswith(".gain") for name in tuned.state())
assert any(value.any() for name, value in tuned.state().items() if name.endswith(".b"))
tokens = torch.arange(2, 12)[None]
with torch.no_grad():
    before = tuned.logits(tuned(tokens))
    assert torch.allclose(tuned.merge()(tokens).logits, before, atol=1e-4)
"""


def test_a_method_is_named_tuned_saved_loaded_and_merged(tmp_path: Path) -> None:
    pytest.importorskip("transformers", reason="the extra lm is not installed")
    from tests.support.lm.tiny_llama import save_tiny

    save_tiny(tmp_path / "base")
    rows = [{"prompt": f"shop {n}", "answer": f"sale {n % 3}"} for n in range(8)]
    (tmp_path / "pairs.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    with added("method", tmp_path) as run:
        run("-c", METHOD_USE)


ENGINE_USE = """
from contextlib import closing
from adwright.lm.open_model import open_lm

with closing(open_lm("backwards+engine=reversing")) as model:
    assert model.generate(["abc"]).texts == ["cba"]

from typer.testing import CliRunner
from adwright.cli import app

told = CliRunner().invoke(
    app, ["lm", "generate", "stressed", "--raw", "--engine", "reversing", "--model", "backwards"]
)
assert told.output == "desserts\\n", told.output
assert "reversing" in CliRunner().invoke(app, ["lm", "models"]).output
assert "reversing" in CliRunner().invoke(app, ["lm", "serve", "--engine", "none"]).output

from fastapi.testclient import TestClient
from adwright.service.lm.app import create_lm_app
from adwright.service.lm.config import LmServiceConfig

settings = LmServiceConfig(allowed_hosts=("testserver",))
with TestClient(create_lm_app(settings, {"backwards": model})) as client:
    (one,) = client.get("/v1/models").json()["data"]
    assert one["engine"] == "reversing"
    body = {"model": "backwards", "prompt": "abc"}
    (choice,) = client.post("/v1/completions", json=body).json()["choices"]
    assert (choice["text"], choice["finish_reason"]) == ("cba", "stop")
    body = {"model": "backwards", "messages": [{"role": "user", "content": "abc"}]}
    (choice,) = client.post("/v1/chat/completions", json=body).json()["choices"]
    assert "cba" in choice["message"]["content"]
    body = {"model": "backwards", "input": "abc"}
    assert client.post("/v1/embeddings", json=body).status_code == 400
"""


def test_an_engine_is_opened_named_and_served(tmp_path: Path) -> None:
    pytest.importorskip("fastapi", reason="the extra service is not installed")
    with added("engine", tmp_path) as run:
        run("-W", "error", "-c", ENGINE_USE)


def test_an_added_platform_is_known_by_its_columns(tmp_path: Path) -> None:
    rows = "Pin ID,Pin day,Pin views,Pin clicks,Pin title\np1,2026-01-05,100,3,Fresh bread\n"
    (tmp_path / "pins.csv").write_text(rows)
    with added("platform", tmp_path) as run:
        said = run(*VERB, "ads", "import", "pins.csv", "--out", "record")
        assert "pinboard" in said
        assert "100" in run(*VERB, "ads", "describe", "record")


ACT_USE = """
from types import SimpleNamespace
from adwright.agent.document.text_format import parse_document
from adwright.agent.generate.writing import language_help
from adwright.agent.language.script import read_script
from adwright.agent.language.statements import check_script
from adwright.agent.run.screen_world import TOUCHES

document = parse_document(
    'app "Shop"\\nversion "1"\\norigin "https://shop.example"\\nstart page\\n\\nstate page\\n\\n'
    'element page__row in page\\n  role "row"\\n  label "Row"\\n  effect commit\\n'
)
checked = check_script(read_script("double_tap($page__row)"), document)
assert (checked.elements, checked.most_writes) == (("page__row",), 1), checked
assert "double_tap($row)" in language_help()
taps = []
TOUCHES["double_tap"](SimpleNamespace(tap=taps.append), "row", "")
assert taps == ["row", "row"]
"""


def test_an_act_is_checked_helped_with_and_done(tmp_path: Path) -> None:
    with added("act", tmp_path) as run:
        run("-c", ACT_USE)


ATTACK_USE = """
from adwright.audit.catalogue import ShopCatalogue, ShopListing
from adwright.audit.found_texts import AttackPlan, find_texts
from adwright.audit.targets.target import FunctionTarget

shop = ShopCatalogue(
    "kettles",
    "Which kettle?",
    tuple(ShopListing(one, {}, {"Text": "quiet"}, fields=("Name", "Text")) for one in "ABC"),
    own=True,
)
loud = FunctionTarget(lambda shown, _: [one.texts["Text"].count("!") for one in shown], name="loud")
(found,) = find_texts(shop, loud, AttackPlan(("T5",), ("B",), calls=9), folder="audit")
assert (found.product, found.tier) == ("B", "T5"), found
assert "B!" in found.text
"""


def test_an_attack_is_planned_run_and_kept(tmp_path: Path) -> None:
    with added("attack", tmp_path) as run:
        run("-c", ATTACK_USE)
