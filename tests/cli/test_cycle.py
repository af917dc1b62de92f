"""adwright cycle, with steps in this process."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from adwright.campaigns.cycle import engine
from adwright.campaigns.store.store import Store
from adwright.cli import app
from adwright.cli.cycle import check_words
from adwright.core.errors import ConfigError
from tests.support.chat_server import chatting
from tests.support.commands import call
from tests.support.steps import run_here

STEPS = """
tenant = "acme"
store = "sqlite:///a.db"
[[steps]]
name = "wanted"
run = "creatives wanted --tenant {tenant} --store {store} --products c.csv --out wanted.csv --force"
inputs = ["c.csv", "store:creatives"]
outputs = ["wanted.csv"]
[[steps]]
name = "show"
run = "creatives show gone --tenant acme --store {store}"
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    with Store.open(f"sqlite:///{tmp_path / 'a.db'}") as store:
        store.create_tenant("acme")
    (tmp_path / "c.csv").write_text("id,title\ntea,Tea\n")
    (tmp_path / "cycle.toml").write_text(STEPS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        engine.run_cycle, "__kwdefaults__", {**engine.run_cycle.__kwdefaults__, "runner": run_here}
    )
    return tmp_path


def test_the_steps_run_and_a_failure_is_told(folder: Path) -> None:
    assert "wanted: done (would run: adwright creatives wanted" in call("cycle", "--dry-run")
    said = call("cycle", "cycle.toml", code=3)
    assert "wanted: done" in said
    assert "show: FAILED (Error: there is no such creative)" in said
    assert (folder / "wanted.csv").read_text() == "id,title\ntea,Tea\n"
    told = json.loads(call("cycle", "run", "cycle.toml", "--json", code=3))
    assert told == {"round": 2, "outcomes": {"wanted": "same", "show": "failed"}}
    shown = call("cycle", "status")
    assert "round 2, rests" in shown
    assert "failed show: Error: there is no such creative" in shown
    assert call("cycle", "cycle.toml", "--status") == shown
    found = json.loads(call("cycle", "status", "cycle.toml", "--json"))
    assert found["steps"]["wanted"]["done_count"] == 1


def test_a_budget_that_is_used_up_has_an_exit_code_of_its_own(folder: Path) -> None:
    text = STEPS.replace("[[steps]]", '[budget]\nseconds = 1e-6\nper = "month"\n[[steps]]', 1)
    (folder / "cycle.toml").write_text(text.partition('[[steps]]\nname = "show"')[0])
    call("cycle")
    (folder / "c.csv").write_text("id,title\nrye,Rye\n")
    assert "wanted: NO BUDGET (no seconds left)" in call("cycle", code=4)
    assert "of 0" in call("cycle", "status")


def test_a_new_file_runs_at_once(folder: Path) -> None:
    (folder / "cycle.toml").unlink()
    names = ("--tenant", "acme", "--store", "sqlite:///a.db", "--catalogue", "c.csv")
    said = call("cycle", "new", "cycle.toml", *names, "--columns", "id=id,title=title")
    assert "Next: adwright cycle cycle.toml --dry-run" in said
    assert "--force" in call("cycle", "new", "cycle.toml", *names, code=2)
    said = call("cycle", "cycle.toml", "--dry-run")
    assert "write: done (would run if wanted" in said
    said = call("cycle", "new", "cycle.toml", "--tenant", "acme", "--force")
    assert "before it runs: there is no input '{catalogue}'" in said


def test_the_whole_file_brings_written_ads_to_decisions(folder: Path) -> None:
    (folder / "cycle.toml").unlink()
    (folder / "c.csv").write_text("id,title\ntea,Assam tea\njam,Plum jam\n")
    with chatting(lambda asked: asked.rpartition("Title: ")[2].split("\n")[0]) as (url, server):
        names = ("--tenant", "acme", "--store", "sqlite:///a.db", "--catalogue", "c.csv")
        more = ("--columns", "id=id,title=title", "--model", f"{url}#teller")
        call(
            "cycle", "new", "cycle.toml", *names, *more, "--landing", "https://s.example/{item_id}"
        )
        text = (folder / "cycle.toml").read_text().replace("least = 3 ", "least = 1 ")
        (folder / "cycle.toml").write_text(text)
        told = json.loads(call("cycle", "cycle.toml", "--json"))
        asked = len(server.asked)
        waiting = {"exports", "score", "edit", "stops", "stop", "certify", "retrain", "gate"}
        waiting |= {"lose"}  # until a day was compacted
        done = {name for name, how in told["outcomes"].items() if how == "done"}
        assert told["outcomes"].keys() - done == waiting
        with Store.open("sqlite:///a.db") as store:
            ads = store.creatives_full("acme")
        # They come by id, not by item.
        assert {(one.state, one.label) for one in ads} == {("live", "AI")}
        assert sorted(one.item_id for one in ads) == ["jam", "tea"]
        assert {one.landing for one in ads} == {"https://s.example/tea", "https://s.example/jam"}
        again = json.loads(call("cycle", "cycle.toml", "--json"))["outcomes"]
        assert again["write"] == "nothing"
        calm = json.loads(call("cycle", "cycle.toml", "--json"))["outcomes"]
        assert "done" not in calm.values()
        assert len(server.asked) == asked >= 4


@pytest.mark.parametrize(
    ("words", "what"),
    [
        (["creative", "scroe"], "no verb 'scroe'"),
        (["nothing"], "no verb 'nothing'"),
        (["store", "compact", "--tenant", "a"], "the command is wrong"),
        (["store", "show", "--tenat", "a"], "--tenat"),
        (["author", "write", "a.csv", "--out", "b", "--batch", "x"], "--batch"),
    ],
)
def test_a_command_that_is_wrong_is_found_before_it_runs(words: list[str], what: str) -> None:
    with pytest.raises(ConfigError, match=what):
        check_words(app, words)


def test_a_command_that_is_right_passes() -> None:
    for right in (["evaluate", "runs/x"], ["store", "show"]):
        check_words(app, right)
        with pytest.raises(ConfigError, match="--no-such"):
            check_words(app, [*right, "--no-such"])


def test_a_mistake_in_a_step_is_one_of_the_file(folder: Path) -> None:
    (folder / "cycle.toml").write_text(STEPS.replace("creatives show", "creatives shwo"))
    assert "there is no verb 'shwo'" in call("cycle", code=2)
    assert not (folder / "wanted.csv").exists()


@pytest.mark.parametrize("name", ["cycle.cron", "airflow_cycle.py", "dagster_cycle.py"])
def test_schedulers_call_the_very_command(name: str) -> None:
    path = Path(__file__).parents[2] / "examples" / "schedulers" / name
    text = path.read_text("utf-8")
    if path.suffix == ".py":
        compile(text, name, "exec", dont_inherit=True)
    plain = re.sub(r'[",\[\]]+', " ", text)
    found = re.search(r"\badwright +--quiet +(cycle +cycle\.toml( +--json)?)", plain)
    assert found is not None
    check_words(app, found[1].split())
