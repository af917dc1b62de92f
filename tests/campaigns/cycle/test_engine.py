"""A walk through the steps: what is skipped, what goes on after a kill, and what it costs."""

from __future__ import annotations

import hashlib
import hmac
import json
import threading
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from adwright.campaigns.cycle.book import Book
from adwright.campaigns.cycle.engine import RoundReport, run_cycle
from adwright.campaigns.cycle.plan import load_cycle
from adwright.campaigns.cycle.status import read_status
from adwright.campaigns.cycle.step import StepCall, StepEnd
from adwright.campaigns.store.store import Store
from adwright.core.atomic import claim
from adwright.core.errors import ConfigError, ResourceError
from adwright.core.journal import append_rows
from adwright.data.creatives import Creative
from tests.support.store.events import event

STEPS = """
tenant = "acme"
store = "sqlite:///a.db"
[prices]
prompt = 1000.0
answer = 2000.0
[budget]
tokens = 100
per = "day"
[[steps]]
name = "wanted"
run = "copy c.csv wanted.csv"
inputs = ["c.csv"]
outputs = ["wanted.csv"]
[[steps]]
name = "write"
run = "write ads/{key} {tokens_left} {money_left} {number} {prices}"
inputs = ["wanted.csv"]
outputs = ["ads/{key}"]
rows = "wanted.csv"
spends = "ads/{key}"
ok = [0, 4]
[[steps]]
name = "enter"
run = "enter ads/{write.key}"
inputs = ["ads/{write.key}"]
[[steps]]
name = "train"
run = "train models/{key}"
inputs = ["c.csv", "clock:day"]
outputs = ["models/{key}"]
[[steps]]
name = "gate"
run = "publish models/{train.key}"
inputs = ["models/{train.key}"]
gate = "models/{train.key}/gate.json"
optional = true
"""


class Killed(BaseException):
    """The process of the cycle ends here."""


class Clock:
    """Time that a test sets."""

    def __init__(self) -> None:
        self.time = datetime(2024, 5, 1, 12, tzinfo=UTC)
        self.seconds = 0.0

    def now(self) -> datetime:
        self.time += timedelta(milliseconds=1)
        return self.time

    def monotonic(self) -> float:
        return self.seconds


class Shop:
    """A folder with a cycle, and what its steps do."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.clock = folder, Clock()
        self.ran: list[list[str]] = []
        self.posted: list[tuple[str, dict[str, Any], str]] = []
        self.gate, self.takes = "better", True
        self.code: dict[str, int | None] = {}
        self.kill_in = self.kill_after = ""
        self.takes_tokens = [30]
        (folder / "cycle.toml").write_text(STEPS)
        (folder / "c.csv").write_text("item_id\ntea\n")
        with Store.open(f"sqlite:///{folder / 'a.db'}") as store:
            store.create_tenant("acme")

    def walk(self, **more: Any) -> RoundReport:
        path = self.folder / "cycle.toml"
        settings = {"runner": self.run, "clock": self.clock, "post": self.post, **more}
        return run_cycle(path, **settings)

    def killed(self) -> None:
        with pytest.raises(Killed):
            self.walk()

    def post(self, url: str, body: bytes, signed: str, seconds: float) -> bool:
        self.posted.append((url, json.loads(body), signed))
        return self.takes

    def run(self, call: StepCall) -> StepEnd:
        verb, *words = call.words
        self.ran.append(call.words and list(call.words))
        call.log.write_text(f"{verb} says so\n")
        at = call.folder / (words[-1] if verb == "copy" else words[0])
        if verb == "copy":
            at.write_text((call.folder / words[0]).read_text())
        elif verb == "write":
            took = {"prompt_tokens": self.takes_tokens.pop(0), "cached_tokens": 0}
            append_rows(at / "usage.jsonl", [{**took, "answer_tokens": 10}])
        elif verb == "train":
            at.mkdir(parents=True)  # fails where an attempt that was killed left something
            gate = {"decision": self.gate, "verdict": f"it is {self.gate}"}
            (at / "gate.json").write_text(json.dumps(gate))
        if self.kill_in == verb:
            self.kill_in = ""
            raise Killed
        self.clock.seconds += 2.0
        return StepEnd(self.code.get(verb, 0), f"{verb} says so")

    @property
    def verbs(self) -> list[str]:
        found = [words[0] for words in self.ran]
        self.ran.clear()
        return found

    @property
    def book(self) -> Book:
        return Book.read(self.folder / "cycle" / "journal.jsonl")

    def change(self, old: str, new: str) -> None:
        path = self.folder / "cycle.toml"
        assert old in path.read_text()
        path.write_text(path.read_text().replace(old, new))


@pytest.fixture
def shop(tmp_path: Path) -> Shop:
    return Shop(tmp_path)


ALL = ["copy", "write", "enter", "train", "publish"]


def test_all_runs_once_and_then_only_what_changed(shop: Shop) -> None:
    report = shop.walk()
    assert set(report.outcomes.values()) == {"done"}
    assert report.used.tokens == 40
    assert report.used.money == pytest.approx(30e-3 + 20e-3)
    assert report.used.seconds == 10.0
    assert shop.verbs == ALL
    size = len(shop.book.rows)
    assert set(shop.walk().outcomes.values()) == {"same"}
    assert shop.verbs == []
    assert len(shop.book.rows) == size  # a call that does nothing writes nothing
    (shop.folder / "c.csv").write_text("item_id\ntea\nrye\n")
    shop.takes_tokens = [5]
    assert shop.walk().number == 2
    assert shop.verbs == ALL
    shop.clock.time += timedelta(days=1)
    assert shop.walk().outcomes["write"] == "same"
    assert shop.verbs == ["train", "publish"]


def test_an_output_that_is_gone_is_made_again(shop: Shop) -> None:
    shop.walk()
    (shop.folder / "wanted.csv").unlink()
    shop.ran.clear()
    assert shop.walk().outcomes["write"] == "same"  # it became what it was
    assert shop.verbs == ["copy"]


def test_nothing_is_written_for_an_empty_table(shop: Shop) -> None:
    (shop.folder / "c.csv").write_text("item_id\n")
    outcomes = shop.walk().outcomes
    assert (outcomes["write"], outcomes["enter"]) == ("nothing", "absent")
    assert shop.verbs == ["copy", "train", "publish"]


@pytest.mark.parametrize("at", ALL)
def test_a_killed_walk_goes_on_where_it_was(shop: Shop, at: str) -> None:
    shop.kill_in, shop.takes_tokens = at, [30, 7]
    shop.killed()
    assert read_status(load_cycle(shop.folder / "cycle.toml"), shop.clock.now())["open"]
    first = shop.verbs
    assert first[-1] == at
    # What came meanwhile is of the next round.
    (shop.folder / "c.csv").write_text("item_id\ntea\nrye\n")
    report = shop.walk()
    assert (report.number, set(report.outcomes.values())) == (1, {"done"})
    assert shop.verbs == ALL[len(first) - 1 :]
    assert report.used.tokens == (57 if at == "write" else 40)  # before and after the kill, once
    assert len(list((shop.folder / "ads").iterdir())) == 1


def test_a_write_that_is_killed_again_and_again_is_held_to_its_budget(shop: Shop) -> None:
    shop.takes_tokens = [30, 30, 30, 30]
    for _ in range(3):
        shop.kill_in = "write"
        shop.killed()
    left = [words[2] for words in shop.ran if words[0] == "write"]
    assert left == ["100", "60", "20"]
    report = shop.walk()
    assert report.outcomes["write"] == "budget"
    assert report.outcomes["enter"] == "waits"
    assert report.outcomes["gate"] == "done"
    assert shop.book.used().tokens == 120
    (alert,) = [row for row in shop.book.rows if row["kind"] == "alert"]
    assert (alert["what"], alert["text"]) == ("budget", "no tokens left")
    shop.clock.time += timedelta(days=1)
    report = shop.walk()
    assert report.outcomes["write"] == report.outcomes["enter"] == "done"
    assert len(list((shop.folder / "ads").iterdir())) == 1


@pytest.mark.parametrize(
    ("name", "steps", "bound"),
    [
        ("tokens", "tokens = 40\n", 40),
        ("money", "money = 0.05\n", 0.05),
        ("seconds", "seconds = 4\n", 4),
    ],
)
def test_each_budget_of_the_whole_holds(shop: Shop, name: str, steps: str, bound: float) -> None:
    shop.change("tokens = 100\n", steps)
    first = shop.walk()
    (shop.folder / "c.csv").write_text("item_id\ntea\nrye\n")
    shop.takes_tokens = [1]
    outcomes = {**first.outcomes, **shop.walk().outcomes}
    runs_out = ("wanted", "train") if name == "seconds" else ("write",)
    assert [one for one, how in outcomes.items() if how == "budget"] == list(runs_out)
    assert getattr(shop.book.used(), name) >= bound


def test_a_step_has_a_budget_of_its_own(shop: Shop) -> None:
    shop.change("ok = [0, 4]", "ok = [0, 4]\ntokens = 20\nmoney = 0.5\nseconds = 9")
    seen = []

    def run(call: StepCall) -> StepEnd:
        seen.append(call.seconds)
        return shop.run(call)

    shop.walk(runner=run)
    words = next(words for words in shop.ran if words[0] == "write")
    assert words[2:4] == ["20", "0.500000"]
    assert words[5:] == ["--price-prompt", "1000.0", "--price-answer", "2000.0"]
    assert seen == [None, 9.0, None, None, None]


def test_a_step_that_fails_stops_what_is_behind_it_and_is_tried_again(shop: Shop) -> None:
    shop.code["write"] = 2
    outcomes = shop.walk().outcomes
    assert (outcomes["write"], outcomes["enter"], outcomes["gate"]) == ("failed", "waits", "done")
    shop.code, shop.takes_tokens = {}, [1]
    shop.ran.clear()
    assert shop.walk().outcomes["enter"] == "done"
    assert shop.verbs == ["write", "enter"]


@pytest.mark.parametrize(
    ("code", "said"), [(None, "the time that was left"), (0, "did not make what it says")]
)
def test_a_step_fails_that_is_too_slow_or_makes_nothing(
    shop: Shop, code: int | None, said: str
) -> None:
    def run(call: StepCall) -> StepEnd:
        return StepEnd(code) if call.words[0] == "copy" else shop.run(call)

    report = shop.walk(runner=run)
    assert report.outcomes["wanted"] == "failed"
    assert said in report.said["wanted"]


def test_the_gate_is_obeyed_and_told_once(shop: Shop) -> None:
    shop.gate = "worse"
    assert shop.walk().outcomes["gate"] == "refused"
    assert "publish" not in shop.verbs
    assert shop.walk().outcomes["gate"] == "same"
    alerts = [row for row in shop.book.rows if row["kind"] == "alert"]
    assert [(row["what"], row["about"], row["text"]) for row in alerts] == [
        ("refused", "gate", "it is worse")
    ]


def test_alerts_are_signed_and_sent_until_somebody_took_them(
    shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    urls = '[alerts]\nurls = ["https://a.example", "https://b.example"]\nsecret = "KEY"\n'
    shop.change("[prices]", urls + "[prices]")
    shop.gate, shop.takes = "worse", False
    with pytest.raises(ConfigError, match="secret"):
        shop.walk()
    assert shop.ran == []
    monkeypatch.setenv("KEY", "hush")
    assert shop.walk().unsent == 2
    shop.takes = True
    shop.posted.clear()
    assert shop.walk().unsent == 0
    (first, told, signed), _ = shop.posted
    assert first == "https://a.example"
    assert (told["what"], told["step"], told["tenant"]) == ("refused", "gate", "acme")
    body = json.dumps(told).encode()
    assert signed == f"sha256={hmac.new(b'hush', body, hashlib.sha256).hexdigest()}"
    shop.posted.clear()
    shop.walk()
    assert shop.posted == []


@pytest.mark.parametrize(("status", "unsent"), [(204, 0), (500, 1), (None, 1)])
def test_an_alert_is_sent_over_http_and_a_failure_to_fails_nothing(
    shop: Shop, status: int | None, unsent: int
) -> None:
    got: list[tuple[str | None, dict[str, Any]]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            got.append((self.headers["Content-Type"], json.loads(body)))
            self.send_response(status or 200)
            self.end_headers()

        def log_message(self, *arguments: object) -> None:
            """Silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    if status is None:  # nobody listens
        server.shutdown()
        server.server_close()
    url = f"http://127.0.0.1:{server.server_port}/hook"
    shop.change("[prices]", f'[alerts]\nurls = ["{url}"]\ntimeout = 2\n[prices]')
    shop.gate = "worse"
    try:
        report = shop.walk(post=None)
    finally:
        if status is not None:
            server.shutdown()
            server.server_close()
        thread.join()
    assert (report.unsent, report.outcomes["enter"]) == (unsent, "done")
    if status is not None:
        (content, told) = got[0]
        assert content == "application/json"
        assert (told["what"], told["text"]) == ("refused", "it is worse")


def test_what_came_into_the_store_is_looked_at(shop: Shop) -> None:
    shop.change("[prices]", "[alerts]\nfresh = 24\ndrift = 2.0\n[prices]")
    with Store.open(f"sqlite:///{shop.folder / 'a.db'}") as store:
        shop.walk()
        shop.clock.time += timedelta(days=1)
        store.write_creatives("acme", [Creative(headline="Tea", item_id="tea")], author="a")
        (ad,) = store.creatives_full("acme")
        store.set_priors("acme", "click_rate", {ad.creative_id: (0.5, 0.4, 0.6)})
        mine = {"item_id": "tea", "creative_id": ad.creative_id, "time": shop.clock.time}
        rows = [event(at, request_id=f"r{at}", **mine) for at in range(200)]
        store.record_events("acme", rows)
    shop.walk()
    found = [(row["what"], row["text"]) for row in shop.book.rows if row["kind"] == "alert"]
    assert found == [
        ("no fresh events", "acme has had no event for 24 hours"),
        ("drift", "click_rate predicted 100 responses to ads, and 0 came"),
    ]
    shop.clock.time += timedelta(days=3)
    shop.walk()
    found = [row["what"] for row in shop.book.rows if row["kind"] == "alert"]
    assert found == ["no fresh events", "drift", "no fresh events", "drift"]


def test_two_calls_never_walk_together_and_a_dry_one_writes_nothing(shop: Shop) -> None:
    said = shop.walk(dry_run=True).said
    assert said["wanted"] == "would run: adwright copy c.csv wanted.csv"
    assert said["enter"] == "would run if write changes what it reads"
    assert not (shop.folder / "cycle").exists()
    release = claim(shop.folder / "cycle" / "lock")
    assert release is not None
    with pytest.raises(ResourceError, match="under way"):
        shop.walk()
    assert read_status(load_cycle(shop.folder / "cycle.toml"), shop.clock.now())["running"]
    release()
    shop.walk()
    assert shop.walk(dry_run=True).outcomes["write"] == "same"


def test_a_command_that_is_none_is_refused_before_anything_runs(shop: Shop) -> None:
    def check(words: list[str]) -> None:
        if words[0] == "enter":
            raise ConfigError("no such verb", where="enter")

    with pytest.raises(ConfigError, match="no such verb"):
        shop.walk(check=check)
    assert shop.ran == []


def test_status_and_counters_say_what_the_journal_says(shop: Shop) -> None:
    shop.walk()
    shop.code["train"] = 2
    shop.clock.time += timedelta(days=1)
    shop.walk()
    state = shop.folder / "cycle"
    found = json.loads((state / "status.json").read_text())
    assert found["steps"]["train"]["last"] == "failed"
    assert found["steps"]["train"]["done_count"] == 1
    assert found["budget"]["used"]["tokens"] == 0  # of this day
    assert found["used"]["tokens"] == 40
    assert found["alerts"][0]["text"] == "train says so"
    metrics = (state / "metrics.prom").read_text()
    for line in (
        'adwright_cycle_step_runs_total{tenant="acme",step="train",outcome="failed"} 1',
        'adwright_cycle_step_tokens_total{tenant="acme",step="write"} 40',
        'adwright_cycle_alerts_total{tenant="acme",what="failed"} 1',
        "# TYPE adwright_cycle_step_seconds_total counter",
    ):
        assert line in metrics.splitlines()
