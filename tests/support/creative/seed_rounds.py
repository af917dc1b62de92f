"""SEED without a model: a writer that repeats the words it was tuned on, judges that love a word.

python -m tests.support.creative.seed_rounds FOLDER   # a run that is killed, till it ends
"""

from __future__ import annotations

import json
import os
import random
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from adwright.creative.judging import Judgements
from adwright.creative.records.ad_record import AdRecord
from adwright.creative.seed.rounds import run_seed
from adwright.creative.seed.texts import (
    AdBrief,
    AdFilterConfig,
    KnownAd,
    SeedConfig,
    SeedData,
    known_ads,
)
from adwright.creative.seed.writer import TuneCost, WriterRow
from adwright.lm.engine.generation import LanguageModel
from tests.support.writing import Teller

WORDS = (
    *("warm", "calm", "fresh", "slow", "bright", "soft", "round"),
    *("sweet", "quick", "plain", "zing", "early", "gentle", "crisp"),
)
CONFIG = SeedConfig(
    rounds=3,
    samples=5,
    keep=0.6,
    pool=0.5,
    watch=0.2,
    held=0.2,
    measured=4,
    tokens=120,
    batch=3,
    patience=5,
    draws=100,
    filters=AdFilterConfig(ground=False, copied=1.0),
)


class RepeatingWriter:
    """Five words of what it was tuned on, each as often as it stood there, and one of WORDS.

    rows: by the name of the folder of a round. asked: all prompts.
    """

    name = "repeats"

    def __init__(self) -> None:
        self.rows: dict[str, list[WriterRow]] = {}
        self.asked: list[str] = []

    def tune(self, rows: Sequence[WriterRow], folder: Path, *, seed: int) -> TuneCost:
        """Count words; nothing is drawn."""
        del seed
        self.rows[folder.parent.name] = list(rows)
        counts = Counter(word for row in rows for word in row.answer.lower().split())
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "words.json").write_text(json.dumps(counts))
        return TuneCost(tokens=sum(counts.values()), cpu_seconds=0.0, loss=1.0 / len(rows))

    @contextmanager
    def opened(self, folder: Path) -> Iterator[LanguageModel]:
        """The writer of these words."""
        counts = json.loads((folder / "words.json").read_text())
        known = {word: counts.get(word, 0) + 1 for word in WORDS}
        places: Counter[int] = Counter()

        def tell(prompt: str, call: int) -> str:
            self.asked.append(prompt)
            config = teller.calls[-1][1]
            drawn = random.Random(config.seed + places[call])
            places[call] += 1
            words = list(dict.fromkeys(drawn.choices(list(known), list(known.values()), k=9)))
            return " ".join(words[:6])

        teller = Teller(tell)
        yield teller


class WordJudge:
    """1 and the number of times that a word stands in the title, so that all scores are above 0.

    asked: titles of all ads.
    """

    def __init__(self, word: str, *, strange: str = "") -> None:
        self.word, self.strange, self.asked = word, strange, list[str]()

    @property
    def name(self) -> str:
        """What it loves."""
        return f"loves {self.word}"

    def judge(self, ads: Sequence[AdRecord], /) -> Judgements:
        """See the class. strange: a word that it does not know."""
        self.asked += [ad.title for ad in ads]
        value = np.array([1 + ad.title.lower().split().count(self.word) for ad in ads], np.float32)
        unlike = np.array([bool(self.strange) and self.strange in ad.title for ad in ads], np.bool_)
        return Judgements(value, value - 1, value + 1, unlike)


def seed_ads(
    count: int, *, scored: bool = True, source: str = "s", seed: int = 0
) -> tuple[KnownAd, ...]:
    """Slogans of five of WORDS, each of a brand of its own."""
    drawn = random.Random(f"{source}{seed}")
    records = [
        AdRecord(brand=f"Brand{source}{at}", title=" ".join(drawn.sample(WORDS, 5)))
        for at in range(count)
    ]
    scores = [1.0 + at % 7 for at in range(count)] if scored else None
    return known_ads(
        records, [str(at) for at in range(count)], "slogan", source=source, scores=scores
    )


def seed_data(count: int = 40, *, pool: int = 20, briefs: int = 6) -> SeedData:
    """Labelled ads, a pool, and briefs without an ad."""
    more = tuple(AdBrief(f"more-{at}", subject=f"Tea {at}") for at in range(briefs))
    return SeedData(seed_ads(count) + seed_ads(pool, scored=False, source="p"), more)


def main(folder: str) -> None:
    """Runs in children that die at every so many-th flush to the disk, until one gets through."""
    flush, killed = os.fsync, 0
    while True:
        child = os.fork()
        if child == 0:
            os.fsync = _dying(flush, 4 + killed % 5)
            try:
                run_seed(
                    CONFIG,
                    seed_data(),
                    RepeatingWriter(),
                    WordJudge("zing"),
                    WordJudge("calm"),
                    Path(folder),
                )
            except BaseException as error:
                print(repr(error), file=sys.stderr, flush=True)
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            print(json.dumps({"killed": killed, "code": os.waitstatus_to_exitcode(status)}))
            return
        killed += 1


def _dying(flush: Callable[[int], None], at: int) -> Callable[[int], None]:
    calls = [0]

    def dying(descriptor: int) -> None:
        calls[0] += 1
        if calls[0] == at:
            os.kill(os.getpid(), signal.SIGKILL)
        flush(descriptor)

    return dying


if __name__ == "__main__":
    main(sys.argv[1])
