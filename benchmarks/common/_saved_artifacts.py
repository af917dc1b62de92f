"""The artifacts that commands save: how each is made small, and used. Part of old_artifacts.py."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl


@dataclass(frozen=True)
class Artifact:
    """save, use: commands, a line each. `! ` before one: it may end with another code than 0;
    `~ `: the numbers that it prints are times, too, and not compared.
    `NAME = ` before one: the last word that it prints is {NAME} in later ones. Lines that begin
    with GET or POST ask the service of the command before them. out: globs of the files, written
    by uses, that are compared. needs: a program or a module without which it is left out."""

    name: str
    save: str
    use: str
    out: tuple[str, ...] = ()
    needs: str = ""


_TUNE = "--model tiny --batch 4 --rate 0.01"
_CLICKS = (
    "--id index --title headline --words lede --test clickability_test_id --image-id eyecatcher_id"
)
_CALL = {
    "name": "a",
    "template": "the best {{product}} {{x:output}}",
    "settings": {"x": {"max_tokens": 20, "ignore_eos": True}},
}
_PROGRAM = json.dumps(
    {"values": {"product": "tea"}, "calls": [_CALL], "outputs": [{"variable": "x"}], "wait": True}
)
_WRITER = "--rounds 1 --samples 2 --briefs 4 --out runs/writer"
_SMALL = "--epochs 1 --width 16 --max-length 20"
_PROGRAMS = "programs serve tiny --threads 1 --no-measure --keep kept --port 0"


def _recommender(
    kind: str,
    options: str = "",
    *,
    more: str = "",
    out: tuple[str, ...] = ("used/*",),
    needs: str = "",
) -> Artifact:
    """Of `train KIND`. more: uses beside recommend and evaluate."""
    run = f"runs/{kind}"
    return Artifact(
        f"train {kind}",
        f"train {kind} ratings.csv --out {run} {options}",
        f"recommend {run} --out used/recs.parquet --events ratings.csv\n"
        f"evaluate {run}\n"
        f"evaluate {run} --log later.csv --draws 50 --out used/report.json\n{more}",
        out,
        needs,
    )


ARTIFACTS = (
    Artifact(
        "data import",
        "data import ratings.csv log --items films.csv --kind purchase",
        "data describe log --json\ndata export log used/log.csv --format csv\n"
        "train popularity log --out used/run",
        ("used/log.csv/*.csv", "used/run/report.json"),
    ),
    _recommender("popularity"),
    _recommender("item-item"),
    _recommender("two-tower", "--epochs 1"),
    _recommender("hcn", "--epochs 1"),
    Artifact(
        "train cascade",
        "train cascade ratings.csv --out runs/cascade --minutes 0.05",
        "recommend runs/cascade --out used/recs.parquet --events ratings.csv\n"
        "evaluate runs/cascade\n"
        "evaluate runs/cascade --log later.csv --draws 50 --out used/report.json\n"
        "~ train cascade ratings.csv --out runs/cascade --minutes 0 --resume --force\n"
        "recommend runs/cascade --out used/again.parquet --events ratings.csv\n",
        ("used/*",),
    ),
    _recommender("sasrec", _SMALL),
    _recommender(
        "hstu",
        _SMALL,
        more="export runs/hstu/model used/onnx\n"
        f"train hstu ratings.csv --out runs/hstu {_SMALL.replace('1', '2', 1)} --resume --force",
        out=("used/*", "used/onnx/*", "runs/hstu/model/*.safetensors", "runs/hstu/report.json"),
        needs="onnx",
    ),
    Artifact(
        "train din",
        "data import ratings.csv rated --items films.csv --kind purchase\n"
        "train din rated --out runs/din --epochs 1 --no-base",
        "score runs/din/ranker rows.csv --events rated --out used/scores.parquet\n"
        "explain runs/din/ranker 356 --user 1 --events rated\n"
        "evaluate runs/din --draws 50\n"
        "train din rated --out runs/din --epochs 2 --no-base --resume --force",
        ("used/*", "runs/din/ranker/*.safetensors", "runs/din/*.json"),
    ),
    Artifact(
        "publish, store and key",
        "train popularity ratings.csv --out runs/first\n"
        "train item-item ratings.csv --out runs/second\n"
        "publish runs/first --tenant shop\npublish runs/second --tenant shop\n"
        "key = key shop --scope events --scope decide --scope read --scope stops\n"
        "serve slow.toml --port 0\n"
        'POST /v1/decide {"request_id": "r1", "user_id": "1", "k": 5, '
        '"time": "2018-01-01T00:00:00Z"}\n'
        'POST /v1/events {"events": [{"event_id": "e1", "request_id": "r1", "user_id": "1", '
        '"item_id": "356", "kind": "purchase", "time": "2018-01-01T00:01:00Z"}]}',
        "store show\nstore log --tenant shop\nkey shop --list\n"
        "store events --tenant shop --out used/events.parquet\n"
        "serve slow.toml --port 0\n"
        "GET /v1/models\n"
        'POST /v1/decide {"request_id": "r2", "user_id": "1", "k": 5, '
        '"time": "2018-01-02T00:00:00Z"}\n'
        "store compact --tenant shop --out served\n"
        "retrain runs/second --served served --out runs/third\n"
        "recommend runs/third --out used/recs.parquet --events runs/third/log\n"
        "publish --back --tenant shop",
        ("used/*",),
    ),
    Artifact(
        "creative train clicks",
        f"creative train clicks creatives.csv {_CLICKS} --out runs/clicks",
        "creative score slogans.csv --model runs/clicks --out used/scores.parquet\n"
        "creative explain few.csv --model runs/clicks --out used/page.html",
        ("used/*.parquet",),
        needs="transformers",
    ),
    Artifact(
        "creative train recall",
        "creative train recall slogans.csv --out runs/recall",
        "creative score slogans.csv --model runs/recall --out used/scores.parquet\n"
        "creative explain few.csv --model runs/recall --out used/page.html",
        ("used/*.parquet",),
        needs="transformers",
    ),
    Artifact(
        "creative train clicks, of pictures",
        "creative train clicks windows.csv --look-for nothing --out runs/pictures",
        "creative score windows.csv --look-for nothing --model runs/pictures "
        "--out used/scores.parquet\n"
        "creative edit window.csv --judge runs/pictures --approver Ada --look-for nothing "
        "--calls 12 --least 0 --out used/edits",
        ("used/*", "used/edits/edits.json"),
        needs="PIL",
    ),
    Artifact(
        "creative train writer",
        f"creative train writer more_slogans.csv --base tiny {_WRITER}",
        "creative improve few.csv --model runs/writer --samples 2 --out used/better.parquet\n"
        f"creative train writer more_slogans.csv --base tiny {_WRITER}",
        ("used/*",),
        needs="transformers",
    ),
    Artifact(
        "creative describe",
        "creative describe slogans.csv --out described.parquet --look-for nothing",
        "creative describe described.parquet --out used/again.parquet --look-for nothing",
        ("used/*",),
        needs="transformers",
    ),
    Artifact(
        "ads import",
        "ads import delivered.csv ads",
        "ads describe ads\nretire train ads --unit-of ad --epochs 1 --out used/run",
        ("used/run/model/*.safetensors",),
    ),
    Artifact(
        "retire train",
        "ads import delivered.csv lived\n"
        "retire train lived --unit-of ad --before 2020-06-01 --epochs 2 --out runs/retire\n"
        "retire predict --model runs/retire --floor 0.9 --creatives items.csv --out stops",
        "retire predict --model runs/retire --floor 0.9 --out used/list\n"
        "retire replay --model runs/retire --out used/replay.json\n"
        "retire apply stops --events used/stops.jsonl\nretire undo stops --events used/stops.jsonl",
        ("used/*", "used/list/*"),
    ),
    Artifact(
        "tune run",
        f"tune run --data pairs.jsonl {_TUNE} --method lora --set rank=2 --out runs/lora "
        "--epochs 1",
        "lm generate tea --model tiny --adapter runs/lora --max-tokens 20\n"
        "tune merge runs/lora --to used/whole --model tiny\n"
        "tune export runs/lora --to used/peft --model tiny\n"
        "tune import used/peft --to used/back --model tiny\n"
        "tune compare runs/lora\n"
        f"tune run --data pairs.jsonl {_TUNE} --method lora --set rank=2 --out runs/lora "
        "--epochs 1 --resume --force",
        ("used/*/*.safetensors", "used/back/tuned/*.safetensors", "runs/lora/tuned/*.safetensors"),
        needs="transformers",
    ),
    Artifact(
        "tune jobs",
        "tune jobs jobs.json --out runs/jobs",
        "lm generate tea --model tiny --adapter runs/jobs/a --max-tokens 20\n"
        "lm generate tea --model tiny --adapter runs/jobs/b --max-tokens 20\n"
        "tune compare runs/jobs/a runs/jobs/b\n"
        "tune jobs jobs.json --out runs/jobs --resume",
        ("runs/jobs/*/tuned/*.safetensors",),
        needs="transformers",
    ),
    Artifact(
        "author data and tune",
        "author data rows --catalogue shop.csv --columns id=id,title=title,category=category "
        "--attribute-columns brand --tasks ads,classify --most 30\n"
        f"author tune rows {_TUNE} --steps 2 --valid 0.3 --out runs/author",
        f"author tune rows {_TUNE} --steps 3 --valid 0.3 --out used/author\n"
        "! author write few_products.csv used/texts --slots headline --model tiny "
        "--adapter runs/author --attempts 1",
        ("used/author/tuned/*.safetensors", "used/texts/report.json"),
        needs="transformers",
    ),
    Artifact(
        "author write",
        "! author write few_products.csv texts --slots headline,description --model tiny "
        "--batch 1 --attempts 1 --no-repair --budget-tokens 300\n"
        "author edit texts 1 headline 'A calm tea' --reviewer ann",
        "author status texts --json\n"
        "! author write few_products.csv texts --slots headline,description --model tiny "
        "--batch 1 --attempts 1 --no-repair\n"
        "author status texts --json\nauthor diff texts --all\n"
        "author export texts used/shop.csv --all --products few_products.csv\n"
        "author preferences texts used/pairs\nauthor undo texts",
        ("used/*",),
        needs="transformers",
    ),
    Artifact(
        "audit certify",
        "audit certify coffee.jsonl --model tiny --key audit.pem --facts-by Rating --eps 0.05 "
        "--out certificate.json",
        "audit verify certificate.json\n"
        "audit certify coffee.jsonl --model tiny --key audit.pem --facts-by Rating --eps 0.05 "
        "--out used/again.json",
        ("used/*",),
        needs="cryptography",
    ),
    Artifact(
        "audit run and watch",
        "audit run coffee.jsonl --own --model tiny --orders 2 --tiers T0,control "
        "--product 'QuickBrew Express' --calls 4 --out runs/audit\n"
        "audit watch coffee.jsonl --model tiny --orders 1 --state watch.json",
        "audit report runs/audit --out used/page.html\n"
        "audit run coffee.jsonl --own --model tiny --orders 2 --tiers T0,control "
        "--product 'QuickBrew Express' --calls 4 --out runs/audit --resume\n"
        "audit watch changed/coffee.jsonl --model tiny --orders 1 --state watch.json "
        "--least-gain 0.1 --out used/changes.json",
        ("runs/audit/report.json", "used/*.json"),
        needs="transformers",
    ),
    Artifact(
        "agent",
        "agent explore {site}/ --document shop.txt\n"
        "agent do 'Set the discount of \"Spring\" to 25' --document shop.txt --no-model "
        "--confirm-file allow.toml --folder runs/agent --keep discount",
        "agent report runs/agent\nagent verify discount --document shop.txt\n"
        "agent replay discount item=Autumn discount=15 --document shop.txt "
        "--confirm-file allow.toml --folder used/replayed\n"
        "agent explore {site}/ --document shop.txt",
        needs="chromium",
    ),
    Artifact(
        "programs serve",
        f"{_PROGRAMS}\nPOST /v1/programs {_PROGRAM}",
        f"{_PROGRAMS}\nGET /v1/programs/{{id}}\nGET /v1/programs/{{id}}/variables/x\n"
        f"POST /v1/programs {_PROGRAM}",
        needs="transformers",
    ),
)


def prepare(top: Path, site: str) -> None:
    """Write what the commands read to the folder `top`: of real sets, the first few hundred.

    site: the address of the app that the agent operates."""
    from PIL import Image

    from tests.support.data.judged_pictures import shop_windows, true_rates
    from tests.support.lm.tiny_llama import tiny_llama, tiny_tokenizer

    top.mkdir(parents=True)
    (top / "words.json").write_text(json.dumps({"site": site}), "utf-8")
    data = Path(os.environ["ADWRIGHT_DATA"])
    ratings = pl.read_csv(data / "ml-latest-small" / "ratings.csv").filter(pl.col("userId") <= 120)
    ratings = ratings.select(user_id="userId", item_id="Id", time="timestamp")
    most = ratings["item_id"].value_counts(sort=True).sort("count", "item_id").tail(300)
    ratings = ratings.join(most, on="item_id", how="semi").sort("time", "user_id", "item_id")
    ratings.write_csv(top / "later.csv")
    ratings.head(ratings.height * 9 // 10).write_csv(top / "ratings.csv")
    moment = pl.from_epoch("time")
    rows = ratings.tail(200).with_columns(weekday=moment.dt.weekday(), hour=moment.dt.hour())
    rows.write_csv(top / "rows.csv")
    films = pl.read_csv(data / "ml-latest-small" / "movies.csv").rename({"Id": "item_id"})
    genre = pl.col("genres").str.split("|").list.first()
    films = films.join(most, on="item_id", how="semi")
    films.select("item_id", "title", category=genre).write_csv(top / "films.csv")

    ads = pl.read_parquet(data / "upworthy" / "creatives.parquet")
    tests = ads["clickability_test_id"].unique(maintain_order=True).head(60)
    ads.filter(pl.col("clickability_test_id").is_in(tests.implode())).write_csv(
        top / "creatives.csv"
    )
    slogans = pl.read_csv(data / "slogans" / "slogans.csv")
    slogans.head(60).write_csv(top / "slogans.csv")
    slogans.head(110).write_csv(top / "more_slogans.csv")
    slogans.tail(3).write_csv(top / "few.csv")
    windows, rng = shop_windows(24, seed=1), np.random.default_rng(1)
    for at, window in enumerate(windows):
        Image.fromarray(window).save(top / f"{at}.png")
    shown = pl.DataFrame(
        {
            "id": [f"w{at}" for at in range(24)],
            "image": [f"{at}.png" for at in range(24)],
            "impressions": 20_000,
            "clicks": rng.binomial(20_000, true_rates(windows)),
        }
    )
    shown.write_csv(top / "windows.csv")
    shown.head(1).select("id", "image").write_csv(top / "window.csv")
    days = pl.read_csv(next((data / "online-advertising").glob("*.csv")), infer_schema_length=None)
    ad = pl.concat_str("campaign_number", "banner", "placement", separator=" / ")
    days = days.select(
        pl.format("2020-{}-{}", "month", "day").str.to_date("%Y-%B-%d").alias("Day"),
        ad.alias("Ad ID"),
        ad.alias("Ad name"),
        pl.col("campaign_number").alias("Campaign ID"),
        pl.col("displays").alias("Impressions"),
        pl.col("clicks").alias("Link clicks"),
        pl.col("cost").alias("Amount spent (EUR)"),
    )
    days.group_by("Day", "Ad ID", "Ad name", "Campaign ID", maintain_order=True).sum().write_csv(
        top / "delivered.csv"
    )
    days.select(creative_id="Ad ID", item_id="Ad ID").unique(maintain_order=True).write_csv(
        top / "items.csv"
    )
    shop = pl.DataFrame(json.loads((data / "dummyjson" / "products.json").read_text("utf-8")))
    shop = shop.select("id", "title", "description", "category", "brand")
    shop.head(60).write_csv(top / "shop.csv")
    shop.head(4).write_csv(top / "few_products.csv")
    coffee = (data / "visibility" / "coffee_machines.jsonl").read_text("utf-8")
    (top / "coffee.jsonl").write_text(coffee, "utf-8")
    (top / "changed").mkdir()
    (top / "changed" / "coffee.jsonl").write_text(coffee.replace("busy", "the best of"), "utf-8")
    allowed = '[[allow]]\nrequest = "POST /offers/{}/"\nchanges = ["share"]\nmost = 5\n'
    (top / "allow.toml").write_text(allowed, "utf-8")

    pairs = [{"prompt": f"shop {n}", "answer": f"sale {n % 3}"} for n in range(12)]
    (top / "pairs.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in pairs), "utf-8")
    jobs = [
        {"name": name, "data": {"path": "pairs.jsonl"}, "method": {"rank": rank}}
        for name, rank in (("a", 2), ("b", 3))
    ]
    (top / "jobs.json").write_text(json.dumps({"model": "tiny", "jobs": jobs}), "utf-8")
    (top / "slow.toml").write_text("deadline_ms = 2000.0\n", "utf-8")
    network = tiny_llama()
    network.config.max_position_embeddings = 4096
    network.save_pretrained(top / "tiny")
    tiny_tokenizer().save_pretrained(top / "tiny")
