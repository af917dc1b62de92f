"""The main demonstration: ads are written, judged, shown, learnt from, stopped and written again.

    OUT/log, products.csv         the shelf, and what was bought of it before
    OUT/adwright.db               the store: ads, moves, events, spend
    OUT/models/shop               the versions that decide, and the experiment
    OUT/steps.jsonl               every command that was run, and what it took; and where each of
                                  the thirteen systems took part, or why not
    OUT/life.html                 the page to read

Simulated people meet a shop for some weeks. A half of them, the arm "static", goes on to see the
ads of the first day, each as often as any. The other one, "loop", sees what its results choose: of
the ads of an item those that were clicked and that the person has not seen too often, without those
that lose, and with new ones where people have seen the old ones. Nothing else differs.

Every step of the loop is a command that a user types, run in this process under the simulated time
of day.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Annotated

import numpy as np
import polars as pl

from adwright.campaigns.ad_results import ad_results
from adwright.campaigns.simulation.appeal import Appeal, AppealConfig
from adwright.campaigns.simulation.run import (
    HttpClient,
    Plan,
    SimulationConfig,
    drive,
    make_plan,
)
from adwright.campaigns.store.creatives import CreativeMove
from adwright.campaigns.store.store import Store
from adwright.core.atomic import atomic_write_text
from adwright.core.clock import simulated_time
from adwright.core.config import (
    Count,
    Gt,
    Le,
    Natural,
    NotNegative,
    Positive,
    settings,
    to_jsonable,
)
from adwright.core.errors import AssetError, ResourceError
from adwright.data.creatives import Creative
from adwright.data.sources.log import open_log
from adwright.demos.ads import ADAPTER, JUDGES
from adwright.demos.folder import claim_folder
from adwright.demos.shop import Shop, open_shop, running_shop
from adwright.lm.open_model import is_installed
from adwright.lm.torch_engine.config import TorchConfig
from adwright.metrics.arrays import normal_quantile
from adwright.metrics.bootstrap import Interval
from adwright.training.loop.stage_timer import Stages

MARK = "loop.json"
TENANT, STATIC, LOOP = "shop", "static", "loop"
#: Runs a verb of `adwright`: its words -> what it said. Raises ResourceError where it fails.
RunVerb = Callable[[Sequence[str]], str]
#: Where each of the systems that adwright is made of comes in, or why it does not here: the step.
SYSTEMS: tuple[tuple[str, str, str], ...] = (
    ("LLaMA-E: a model writes ads", "write", "headlines and texts, in the limits of the platform"),
    ("LLM product descriptions", "write", "each text is whole, and checked against the facts"),
    ("PEFT", "write", "SmolLM2-135M chooses facts and frames under a LoRA adapter of this package"),
    (
        "Parrot: semantic variables",
        "write",
        "prompts share their beginnings on the paged engine; as a program of calls, see `adwright "
        "demo ranker`",
    ),
    ("Ad memorability (Henry, SEED)", "judge", "which share would remember each ad"),
    ("Product visibility", "certify", "how far any text could move a product in a list"),
    (
        "AdSEE: edits of pictures",
        "",
        "not needed: these ads have no pictures; `adwright creative edit`",
    ),
    (
        "Neural survival of ads",
        "",
        "not needed: four weeks hold no ends to learn from, so ads stop by their results; "
        "`adwright demo ranker` and `adwright retire`",
    ),
    (
        "DIN",
        "",
        "not needed: a shelf of a few items needs no network, item-item orders it; `adwright "
        "demo ranker`",
    ),
    (
        "Self-supervised two towers",
        "",
        "not needed, likewise; `adwright demo ranker` retrieves by it",
    ),
    ("HCN", "", "not needed, likewise; `adwright demo ranker` orders by it"),
    ("HSTU", "", "not needed, likewise; `adwright train hstu`"),
    (
        "AutoDroid-V2: an agent that runs consoles",
        "",
        "not needed: this platform is our own and has commands; `adwright agent`",
    ),
)
#: Id of an ad that is planted.
PLANTED = "planted"
#: What each campaign may spend.
BUDGET = 500.0
#: What lines of a table begin with.
_BOX = "┏┃┡│└"
#: Weeks before the start that tell how much a person buys.
_BEFORE = 8
#: How slates are filled in both arms, and how the arm "static" chooses ads.
_UNIFORM = '[creatives]\nkind = "uniform"\n'
_POLICY = '[policy]\nkind = "epsilon_greedy"\nepsilon = 0.1\n'
_EXPERIMENT = """
[experiment]
name = "ads"
salt = "{salt}"
[[experiment.arms]]
name = "static"
share = 0.5
settings = "static.toml"
[[experiment.arms]]
name = "loop"
share = 0.5
settings = "loop.toml"
"""


@settings
class AdLifeConfig:
    """weeks: that people meet the shop. people: share of them. items: of the shelf. variants: ads
    of an item on the first day, and those that are written where one has too few. places: of a
    slate. frequency: times that who saw an ad has seen it, from which on its item wants another.
    wear: of the choice among ads, see `CreativeSettings`. appeal: how people like ads. seed: of who
    comes and what they like. acts: whether the loop does anything; without it both arms go on as
    they began. planted: log-odds of an ad that is planted among those of the loop on the first day.
    offline: never download. out: folder."""

    weeks: Count = 4
    people: Annotated[float, Gt(0), Le(1)] = 1.0
    items: Count = 8
    variants: Count = 4
    places: Count = 5
    frequency: Positive = 1.0
    wear: NotNegative = 0.3
    seed: Natural = 0
    acts: bool = True
    planted: float | None = None
    offline: bool = False
    appeal: AppealConfig = field(default_factory=AppealConfig)
    out: Path = Path("runs/demo")


@dataclass(frozen=True)
class LoopStep:
    """A command that was run. week: 0 before the first. said: what it printed, its last lines."""

    week: int
    name: str
    words: tuple[str, ...]
    seconds: float
    cpu_seconds: float
    said: str


class _Steps:
    """Runs verbs, one after the other, and keeps what they took in a file."""

    def __init__(self, run: RunVerb, path: Path, tell: Callable[[str], None]) -> None:
        self._run, self._path, self._tell = run, path, tell
        self.done: list[LoopStep] = []
        self.systems: list[dict[str, str]] = []
        self.week = 0

    def __call__(self, name: str, *words: str | Path, may_fail: bool = False) -> str:
        given = tuple(str(word) for word in words)
        began, cpu = time.monotonic(), time.process_time()
        try:
            said = self._run(given)
        except ResourceError as error:
            if not may_fail:
                raise
            said = f"not done: {error.what}"
        took = time.monotonic() - began, time.process_time() - cpu
        step = LoopStep(self.week, name, given, *took, said.strip()[-2000:])
        self.done.append(step)
        self._write()
        self._tell(f"  {name}: {_last_line(said)} ({took[0]:.1f} s)")
        return said

    def close(self) -> None:
        """Name the systems, too: in which step each took part, or why it did not."""
        names = {"", *(one.name for one in self.done)}
        missing = {"step": "", "said": "there is no language model here"}
        self.systems = [
            {"system": system, **({"step": step, "said": said} if step in names else missing)}
            for system, step, said in SYSTEMS
        ]
        self._write()

    def _write(self) -> None:
        rows = [*(to_jsonable(one) for one in self.done), *self.systems]
        atomic_write_text(self._path, "".join(json.dumps(row) + "\n" for row in rows))


def _last_line(said: str) -> str:
    """What a verb says in one line: the first where a table follows, else the last."""
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    plain = [line for line in lines if line[0] not in _BOX and not line.startswith("Next:")]
    if not plain:
        return "done"
    return plain[0] if any(line[0] in _BOX for line in lines) else plain[-1]


@dataclass(frozen=True)
class Foretold:
    """What judges said of an ad before it was shown, by name. own: whether that of clicks is the
    shop's own."""

    scores: Mapping[str, float]
    own: bool


@dataclass(frozen=True, eq=False)
class AdLifeResult:
    """What happened. lift: of clicks an impression, loop over static, as a share, with its 95%
    interval over people. reading: what `experiment read` says at the end. ads: every ad with its
    results. moves: of each, by id. foretold: what judges said of each before it was shown. weekly:
    creative_id, week, impressions, clicks. before: user_id and how much each bought of the shelf
    before. systems: which took part where."""

    config: AdLifeConfig
    start: datetime
    visits: int
    lift: Interval
    reading: str
    ads: pl.DataFrame
    weekly: pl.DataFrame
    moves: Mapping[str, Sequence[CreativeMove]]
    foretold: Mapping[str, Foretold]
    spend: pl.DataFrame
    steps: Sequence[LoopStep]
    assumptions: Sequence[str]
    before: pl.DataFrame
    products: Mapping[str, str]
    systems: Sequence[Mapping[str, str]]


def loop_demo(config: AdLifeConfig, run: RunVerb, tell: Callable[[str], None]) -> AdLifeResult:
    """Run the loop. run: runs a verb. tell: is told what happens.

    Raises ResourceError where the folder holds something else, and as the verbs do.
    """
    out = config.out
    without = why_no_writer(offline=config.offline)
    if without:
        tell(f"No language model, since {without}: a rule chooses what the ads say.")
    claim_folder(out, MARK, config)
    for old in ("adwright.db", "adwright.db-wal", "adwright.db-shm"):
        (out / old).unlink(missing_ok=True)
    for old in ("models", "ads", "runs", "compacted"):
        shutil.rmtree(out / old, ignore_errors=True)
    stages = Stages()
    with stages.stage("fit the people"):
        shop = open_shop(
            out, items=config.items, people=config.people, seed=config.seed, offline=config.offline
        )
    simulation = SimulationConfig(
        name="loop",
        days=7.0 * config.weeks,
        places=config.places,
        candidates=shop.item_ids,
        seed=config.seed,
    )
    plan = make_plan(shop.world.people, simulation)
    with simulated_time() as set_now, Store.open(f"sqlite:///{out.resolve()}/adwright.db") as store:
        set_now(plan.start - timedelta(days=1))
        steps = _Steps(run, out / "steps.jsonl", tell)
        life = _Life(config, shop, plan, store, steps, set_now, writes=not without)
        life.first_day()
        with running_shop(store, out / "models", TENANT) as client:
            for week in range(1, config.weeks + 1):
                tell(f"week {week}")
                life.week(week, client)
        return life.read()


def lift_of(events: pl.DataFrame, before: pl.DataFrame) -> Interval:
    """Clicks an impression of the ads of LOOP over those of STATIC, less 1, with its 95% interval
    over people, each with all that he saw. events: of ads. before: user_id and `bought`, how much
    a person bought of the shelf before; what that explains is taken off (CUPED)."""
    kind = pl.col("kind")
    people = (
        events.filter(pl.col("campaign_id").is_in([STATIC, LOOP]))
        .group_by("campaign_id", "user_id")
        .agg(
            shown=(kind == "impression").sum().cast(pl.Float64),
            clicked=(kind == "click").sum().cast(pl.Float64),
        )
        .join(before, on="user_id", how="left")
        .with_columns(pl.col("bought").fill_null(0).log1p() * pl.col("shown"))
    )
    sums = people.select("bought", "shown").to_numpy().sum(0)
    whole = float(sums[0] / sums[1])
    rate, missed, left, off = {}, {}, {}, {}
    for arm in (STATIC, LOOP):
        mine = people.filter(campaign_id=arm)
        shown, clicked, bought = (mine[name].to_numpy() for name in ("shown", "clicked", "bought"))
        rate[arm] = clicked.sum() / shown.sum()
        missed[arm] = (clicked - rate[arm] * shown) / clicked.sum()
        mean = bought.sum() / shown.sum()
        left[arm] = (bought - mean * shown) / clicked.sum()
        off[arm] = (mean - whole) * shown.sum() / clicked.sum()
    x, y = (np.concatenate([one[STATIC], one[LOOP]]) for one in (left, missed))
    slope = float(x @ y / max(x @ x, 1e-300))
    told = np.log(rate[LOOP] / rate[STATIC]) - slope * (off[LOOP] - off[STATIC])
    error = normal_quantile(0.975) * float(((y - slope * x) ** 2).sum()) ** 0.5
    value, low, high = (float(np.expm1(one)) for one in (told, told - error, told + error))
    return Interval(value, low, high)


def why_no_writer(*, offline: bool) -> str:
    """Why no language model can write here; empty where one can."""
    if not is_installed(TorchConfig):
        return "the extra `lm` is not installed"
    from adwright.lm.engine.weights import locate

    try:
        locate(TorchConfig().model, offline=offline)
    except AssetError as error:
        return f"{error.what}"
    return ""


class _Life:
    """What happens in the shop, week by week. writes: whether a language model can be had."""

    def __init__(
        self,
        config: AdLifeConfig,
        shop: Shop,
        plan: Plan,
        store: Store,
        steps: _Steps,
        set_now: Callable[[datetime], None],
        *,
        writes: bool,
    ) -> None:
        self.writes = writes
        self.config, self.shop, self.plan = config, shop, plan
        self.store, self.steps, self.set_now = store, steps, set_now
        planted = {} if config.planted is None else {PLANTED: config.planted}
        self.appeal = Appeal(replace(config.appeal, seed=config.seed), planted)
        self.acts = config.acts
        self.out = config.out
        self._quiet = ("--offline",) if config.offline else ()
        self._in = ("--store", store.url, "--tenant", TENANT)
        self._judge: Path | None = None  # the last own one of clicks
        self._foretold: dict[str, Foretold] = {}

    def first_day(self) -> None:
        """A model and the first ads, of which each arm has the same."""
        models = self.out / "models"
        trained = self.out / "runs" / "recommender"
        self.steps("train", "train", "item-item", self.shop.log, "--out", trained)
        self.steps("publish", "publish", trained, "--models", models, "--tenant", TENANT)
        salt = f"loop-{self.config.seed}"
        (models / TENANT / "static.toml").write_text(_POLICY + _UNIFORM)
        weeks = 24 * 7 * self.config.weeks
        own = f"[creatives]\nwear = {self.config.wear}\ncap_hours = {weeks}\n"
        (models / TENANT / "loop.toml").write_text(_POLICY + (own if self.acts else _UNIFORM))
        text = _POLICY + _EXPERIMENT.format(salt=salt)
        (models / TENANT / "serving.toml").write_text(text)
        start = self.plan.start - timedelta(days=1)
        self.store.create_tenant(TENANT)
        for name in (STATIC, LOOP):
            terms = {"price": 0.002, "budget": BUDGET, "targeting": {"_arm": [name]}}
            self.store.put_campaign(TENANT, {"campaign_id": name, "start": start, **terms})
        self._write(self.out / "products.csv", 0)
        first = self.store.creatives_full(TENANT, states=["live"])
        if self.config.planted is not None:
            item = self.shop.products[0]
            bad = Creative(item.title, creative_id=PLANTED, item_id=item.id, campaign_id=LOOP)
            self._enter_as_they_are([bad])
        copies = [
            replace(one, creative_id=f"{STATIC}-{one.creative_id}", campaign_id=STATIC, state="")
            for one in first
        ]
        self._enter_as_they_are(copies)
        log = ("--log", str(self.shop.log))
        self.steps(
            "start the experiment", "experiment", "start", "--tenant", TENANT, *log,
            "--models", models, "--response", "purchase",
        )  # fmt: skip

    def week(self, week: int, client: HttpClient) -> None:
        """People come for a week; what loses goes at night; then the loop goes round."""
        self.steps.week = week
        people, since = self.shop.world.people, self.plan.start + timedelta(weeks=week - 1)
        for day in range(7):
            begins, ends = (since + timedelta(days=one) for one in (day, day + 1))
            batches = self.plan.batches(begins, ends)
            drive(people, client, self.plan, self.appeal, batches, self.set_now)
            self.set_now(ends)
            if self.acts:
                self._night()
        if week < self.config.weeks and self.acts:
            self._go_round(week)

    def _night(self) -> None:
        """Take down what loses, by all that was shown until now."""
        self.steps(
            "stop", "creatives", "results", *self._in, "--campaign", LOOP, "--stop",
            "--author", "rules:usual",
        )  # fmt: skip

    def _go_round(self, week: int) -> None:
        """What a scheduler does at night: learn from what was shown, and change what is live."""
        models, runs = self.out / "models", self.out / "runs"
        table, judge = runs / f"results{week}.parquet", runs / f"judge{week}"
        self.steps(
            "results", "creatives", "results", *self._in, "--campaign", LOOP, "--out", table
        )  # fmt: skip
        if self.writes:
            self.steps(
                "learn", "creative", "train", "clicks", table, "--test", "item_id", "--out", judge,
                *self._quiet, may_fail=True,
            )  # fmt: skip
            if (judge / "model").is_dir():
                self._judge = judge / "model"
        current = max((models / TENANT).glob("v*"), key=lambda one: int(one.name[1:]))
        self.steps(
            "retrain", "retrain", current, "--log", self.shop.log, "--served", self.store.url,
            "--out", runs / f"recommender{week}",
            "--tenant", TENANT, "--models", models, "--publish",
        )  # fmt: skip
        wanted = runs / f"wanted{week}.csv"
        self.steps(
            "wanted", "creatives", "wanted", *self._in, "--campaign", LOOP,
            "--products", self.out / "products.csv", "--least", str(self.config.variants),
            "--frequency", str(self.config.frequency), "--out", wanted,
        )  # fmt: skip
        if len(wanted.read_text("utf-8").splitlines()) > 1:
            self._write(wanted, week)

    def _write(self, products: Path, week: int) -> None:
        """New ads for the products: written, entered, judged, approved and made live."""
        made, table = self.out / "ads" / f"week{week}", self.out / "ads" / f"week{week}.parquet"
        chooser = ("--adapter", ADAPTER / "tuned") if self.writes else ("--model", "rule")
        self.steps(
            "write", "author", "write", products, "--out", made,
            "--slots", "headline,description", "--platform", "google-rsa",
            "--variants", str(self.config.variants), "--seed", str(self.config.seed + week),
            "--least-usable", "0", *chooser, *self._quiet,
        )  # fmt: skip
        self.steps("export", "author", "export", made, "--all", "--creatives", table)
        self.steps(
            "enter", "creatives", "import", table, *self._in, "--submit", "--campaign", LOOP,
            "--author", "adwright author", "--landing", "https://shop.example/{item_id}",
        )  # fmt: skip
        new = made.with_name(f"new{week}.parquet")
        # Those that are live as well: rules hold up what is new to them, by one judge.
        states = ("--state", "in review", "--state", "live")
        self.steps("list", "creatives", "list", *self._in, *states, "--out", new)
        if self.writes:
            clicks = self._judge or JUDGES / "clicks"
            judges = ("--model", clicks, "--model", JUDGES / "recall")
            self.steps("judge", "creative", "score", new, *judges, *self._in, *self._quiet)
            self._note_foretold()
        shelf = ("--products", self.out / "products.csv")
        self.steps("approve", "creatives", "approve", "--rules", "usual", *self._in, *shelf)
        by = ("--author", "rules:usual")
        self.steps("publish ads", "creatives", "publish", "--all", *self._in, *by)

    def _note_foretold(self) -> None:
        """Keep what judges say of ads that nobody has seen yet; later they are judged anew."""
        new = [one.creative_id for one in self.store.creatives_full(TENANT, states=["in review"])]
        for creative_id, found in self.store.creative_scores(TENANT, new).items():
            scores = {judge: said.value for judge, said in found.items()}
            self._foretold.setdefault(creative_id, Foretold(scores, self._judge is not None))

    def _enter_as_they_are(self, creatives: Sequence[Creative]) -> None:
        self.store.write_creatives(TENANT, creatives, author="adwright demo")
        ids = [one.creative_id for one in creatives]
        for state in ("in review", "approved", "live"):
            why = "as the ad of the other arm"
            self.store.move_creatives(TENANT, ids, state, author="adwright demo", why=why)

    def read(self) -> AdLifeResult:
        """What came of it all, and how far any text could move the shelf in an assistant's list."""
        store, models = self.store, self.out / "models"
        log = self.out / "compacted"
        self.steps("compact", "store", "compact", *self._in, "--out", log)
        reading = self.steps(
            "read the experiment", "experiment", "read", "--tenant", TENANT, "--models", models,
            "--log", self.shop.log, "--log", log, "--log", store.url,
        )  # fmt: skip
        creatives = store.creatives_full(TENANT)
        events = store.log(TENANT, log)
        ads = ad_results(creatives, events)
        if self.writes:
            self._certify(ads)
        self.steps.close()
        of_ads = events.filter(pl.col("creative_id").is_not_null()).collect()
        since = pl.lit(self.plan.start).cast(pl.Datetime("us", "UTC"))
        weekly = (
            of_ads.with_columns(week=(pl.col("time") - since).dt.total_days() // 7 + 1)
            .group_by("creative_id", "week")
            .agg(
                impressions=(pl.col("kind") == "impression").sum(),
                clicks=(pl.col("kind") == "click").sum(),
            )
            .sort("creative_id", "week")
        )
        before = self._bought()
        moves: dict[str, list[CreativeMove]] = {one.creative_id: [] for one in creatives}
        for move in store.creative_moves(TENANT):
            moves[move.creative_id].append(move)
        return AdLifeResult(
            config=self.config,
            start=self.plan.start,
            visits=len(self.plan),
            lift=lift_of(of_ads, before),
            before=before,
            reading=reading,
            ads=ads,
            weekly=weekly,
            moves=moves,
            foretold=self._foretold,
            spend=store.spend(TENANT),
            steps=self.steps.done,
            assumptions=(
                *self.shop.world.people.assumptions(),
                *self.config.appeal.assumptions(),
            ),
            products={one.id: one.title for one in self.shop.products},
            systems=self.steps.systems,
        )

    def _bought(self) -> pl.DataFrame:
        """What each person bought of the shelf in the weeks before."""
        since = pl.lit(self.plan.start - timedelta(weeks=_BEFORE)).cast(pl.Datetime("us", "UTC"))
        past = open_log(self.shop.log, offline=True).events.filter(pl.col("time") >= since)
        return past.group_by("user_id").agg(bought=pl.len().cast(pl.Float64)).collect()

    def _certify(self, ads: pl.DataFrame) -> None:
        """Sign how far the texts of the best ads could move their products."""
        best = ads.filter(campaign_id=LOOP).sort("clicks", descending=True).unique("item_id")
        said = {row["item_id"]: row for row in best.iter_rows(named=True)}
        rows = [
            {
                "id": one.id,
                "title": one.title,
                "text": " ".join(said[one.id][slot] or "" for slot in ("headline", "description")),
                "clicks": said[one.id]["clicks"],
            }
            for one in self.shop.products
            if one.id in said
        ]
        path = self.out / "list.jsonl"
        atomic_write_text(path, "".join(json.dumps(row) + "\n" for row in rows))
        self.steps(
            "certify", "audit", "certify", path, "--facts-by", "clicks", "--eps", "0.2",
            "--out", self.out / "certificate.json", "--key", self.out / "audit.pem", *self._quiet,
        )  # fmt: skip


def verb_failed(words: Sequence[str], code: int, said: str) -> ResourceError:
    """The error of a verb that ended with this code."""
    return ResourceError(
        f"a step ended with code {code}: {_last_line(said)}",
        where=f"adwright {' '.join(words)}",
        hint="run it by itself to see more",
    )
