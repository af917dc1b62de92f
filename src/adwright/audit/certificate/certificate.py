"""A certificate: scores and bounds of a list, as plain values that anybody can replay.

    made = make_certificate("kettles", request, names, scores, ranker="...", made=clock.now())
    made.in_words()

It holds every score that the bounds follow from. So whoever reads it can compute them again, and
needs to believe nothing but that the scores are those of the ranker. `signed` says who states that.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from adwright.audit.certificate.bounds import rank_bounds
from adwright.audit.certificate.collusion import colluding_bounds
from adwright.audit.certificate.scores import BoundedScores
from adwright.core.errors import ConfigError, ValueInvalidError

#: Names the rule by which the bounds follow from the scores.
FORMAT = "adwright-rank-certificate/1"


@dataclass(frozen=True)
class RankCertificate:
    """Rows of products in the order of the catalogue.

    catalogue, request, ranker: what was ranked, for what, by what. digest: SHA-256 of the catalogue
    as it was shown, empty where unknown. made: when, in ISO 8601. eps: the bound on the term of the
    text. colluders: of how many products that work together `best_together` and `worst_together`
    speak. names, facts, texts: of the products, and rank, best, worst as in `bounds`.
    """

    catalogue: str
    request: str
    ranker: str
    digest: str
    made: str
    eps: float
    colluders: int
    names: tuple[str, ...]
    facts: tuple[float, ...]
    texts: tuple[float, ...]
    rank: tuple[int, ...]
    best: tuple[int, ...]
    worst: tuple[int, ...]
    best_together: tuple[int, ...]
    worst_together: tuple[int, ...]

    def payload(self) -> dict[str, Any]:
        """What is signed, as plain values."""
        columns = zip(
            *(self.names, self.facts, self.texts, self.rank, self.best, self.worst),
            *(self.best_together, self.worst_together),
            strict=True,
        )
        keys = ("name", "facts", "text", "rank", "best", "worst", "best_together", "worst_together")
        return {
            "format": FORMAT,
            "catalogue": self.catalogue,
            "request": self.request,
            "ranker": self.ranker,
            "digest": self.digest,
            "made": self.made,
            "eps": self.eps,
            "colluders": self.colluders,
            "products": [dict(zip(keys, row, strict=True)) for row in columns],
        }

    def in_words(self) -> str:
        """A few sentences for a reader."""
        gain = np.subtract(self.rank, self.best)
        together = np.subtract(self.rank, self.best_together)
        most = int(np.argmax(gain)) if len(gain) else 0
        said = [
            f"{len(self.names):,} products of {self.catalogue}, ranked by {self.ranker}; a text "
            f"moves a score by at most {self.eps:g}.",
        ]
        if len(gain):
            said.append(
                f"A text wins {gain.mean():.2f} ranks at most on average, and {gain[most]} for "
                f"{self.names[most]} (from rank {self.rank[most]} to {self.best[most]})."
            )
            said.append(
                f"With {self.colluders} products working together these are {together.mean():.2f} "
                f"on average and {together.max()} at most."
            )
        return " ".join(said)


def make_certificate(
    catalogue: str,
    request: str,
    names: Sequence[str],
    scores: BoundedScores,
    *,
    ranker: str,
    made: datetime,
    colluders: int = 2,
    digest: str = "",
) -> RankCertificate:
    """The certificate of a list. Arguments as the fields of `RankCertificate`.

    Raises ValueInvalidError where there are not as many names as scores, or a name is given twice;
    ConfigError for a time without a zone or fewer than one colluder.
    """
    if len(names) != len(scores):
        raise ValueInvalidError(f"there are {len(names)} names and {len(scores)} scores")
    seen: dict[str, int] = {}
    for row, name in enumerate(names):
        if seen.setdefault(name, row) != row:
            raise ValueInvalidError(
                "two products have one name", row=row, value=name, hint="name the variant too"
            )
    if made.tzinfo is None:
        raise ConfigError("the time has no zone", where="made", hint="use the clock's now()")
    plain, together = rank_bounds(scores), colluding_bounds(scores, colluders)
    return RankCertificate(
        catalogue=catalogue,
        request=request,
        ranker=ranker,
        digest=digest,
        made=made.isoformat(),
        eps=float(scores.eps),
        colluders=colluders,
        names=tuple(names),
        facts=tuple(scores.facts.tolist()),
        texts=tuple(scores.texts.tolist()),
        rank=tuple(plain.rank.tolist()),
        best=tuple(plain.best.tolist()),
        worst=tuple(plain.worst.tolist()),
        best_together=tuple(together.best.tolist()),
        worst_together=tuple(together.worst.tolist()),
    )


def read_certificate(payload: Mapping[str, Any]) -> RankCertificate:
    """The certificate of what `payload` gave, its bounds computed anew from its scores.

    Raises ValueInvalidError where it is of another format, lacks something, or where a bound does
    not follow from the scores.
    """
    if payload.get("format") != FORMAT:
        raise ValueInvalidError(
            "this is no certificate of this format",
            column="format",
            value=payload.get("format"),
            hint=f"expected {FORMAT}",
        )
    try:
        rows = payload["products"]
        scores = BoundedScores(
            np.array([row["facts"] for row in rows], np.float64),
            np.array([row["text"] for row in rows], np.float64),
            payload["eps"],
        )
        found = make_certificate(
            payload["catalogue"],
            payload["request"],
            [row["name"] for row in rows],
            scores,
            ranker=payload["ranker"],
            made=datetime.fromisoformat(payload["made"]),
            colluders=payload["colluders"],
            digest=payload["digest"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ValueInvalidError(
            f"the certificate lacks something, or it is of another type: {error}",
            hint="ask for it anew",
        ) from error
    for row, (stated, true) in enumerate(zip(rows, found.payload()["products"], strict=True)):
        if stated != true:
            raise ValueInvalidError(
                "a bound does not follow from the scores",
                row=row,
                column=next((key for key in true if stated.get(key) != true[key]), "products"),
                value=true["name"],
                hint="do not rely on it",
            )
    return found
