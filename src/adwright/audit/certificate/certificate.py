"""A certificate: scores and bounds of a list, as plain values that anybody can replay.

    made = make_certificate("kettles", request, names, scores, ranker="...", made=clock.now())
    made.in_words()

It holds every score that the bounds follow from. So whoever reads it can compute them again, and
needs to believe nothing but that the scores are those of the ranker. `signed` says who states that.
"""

from __future__ import annotations

import json
import math
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from adwright.core.atomic import atomic_write_text, resource_error
from adwright.core.config import require_count
from adwright.core.errors import (
    ConfigError,
    FileUnreadableError,
    MissingExtraError,
    ResourceError,
    ValueInvalidError,
)
from adwright.core.regular import read_regular

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


# --------------------------------------------------------------------------------------------------
# The score that a certificate speaks of: facts, and a bounded term of the product's own text.
#
#     s_i = a_i + clip(t_i, -eps, eps)
#
# a_i comes from attributes that the marketplace has verified, t_i from the text of product i alone.
# Whatever a seller writes, s_i stays in [a_i - eps, a_i + eps], and no other score moves. So t_i
# must
# not depend on the texts of others, nor a_i on other products: score each by itself
# (`audit.defences.stack`).
#
#     scores = BoundedScores(facts, texts, eps=0.5)
#     scores.honest                       # [C], of the texts as they are
#
# Letters: C products of a list.

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class BoundedScores:
    """facts: a [C], texts: t [C], both finite; eps: the bound, 0 or more.

    Raises ValueInvalidError naming the row of a score that is no finite number, ConfigError for an
    eps that is none or below 0.
    """

    facts: Floats
    texts: Floats
    eps: float

    def __post_init__(self) -> None:
        facts = checked_scores(self.facts, "facts")
        texts = checked_scores(self.texts, "texts")
        if len(facts) != len(texts):
            raise ValueInvalidError(
                f"there are {len(facts)} scores of facts and {len(texts)} of texts",
                column="texts",
                hint="give one of each a product",
            )
        require_eps(self.eps)
        object.__setattr__(self, "facts", facts)
        object.__setattr__(self, "texts", texts)

    def __len__(self) -> int:
        return len(self.facts)

    @property
    def honest(self) -> Floats:
        """s [C]: the scores of the texts as they are."""
        return self.facts + np.clip(self.texts, -self.eps, self.eps)

    @property
    def highest(self) -> Floats:
        """a + eps [C]: what the best text brings."""
        return self.facts + self.eps

    @property
    def lowest(self) -> Floats:
        """a - eps [C]: what a text that lowers its own product as far as it can leaves."""
        return self.facts - self.eps

    def ranks(self) -> npt.NDArray[np.int64]:
        """[C] ranks of the texts as they are, from 1; of equal scores all get the best of their
        ranks."""
        ordered = np.sort(self.honest)
        return len(self) + 1 - np.searchsorted(ordered, self.honest, side="right")


def checked_scores(values: npt.ArrayLike, column: str) -> Floats:
    """[C] as float64. Raises ValueInvalidError where it is no row of finite numbers."""
    try:
        found = np.asarray(values, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueInvalidError(
            "the scores are no numbers", column=column, value=values, hint="give one a product"
        ) from error
    if found.ndim != 1:
        raise ValueInvalidError(
            f"the scores have shape {found.shape}", column=column, hint="give one a product"
        )
    wrong = np.flatnonzero(~np.isfinite(found))
    if len(wrong):
        row = int(wrong[0])
        raise ValueInvalidError(
            "a score is no finite number",
            row=row,
            column=column,
            value=float(found[row]),
            hint="leave the product out, or score it anew",
        )
    return found


def require_eps(eps: float) -> None:
    """Raise ConfigError for a bound that is no finite number from 0 on."""
    is_number = isinstance(eps, int | float | np.floating) and not isinstance(eps, bool)
    if not is_number or not (math.isfinite(eps) and eps >= 0):
        raise ConfigError(
            "eps is a finite number, 0 or more", where=f"eps {eps!r}", hint="such as 0.5"
        )


def usual_eps(facts: Floats) -> float:
    """The bound where nobody gives one: a quarter of the spread (standard deviation) of the scores
    of the facts, in whatever unit the ranker scores. What facts tell apart by more no text turns
    round. NaN stands for facts that cannot be scored. Raises ConfigError where all score alike."""
    known = facts[np.isfinite(facts)]
    spread = float(known.std()) if len(known) else 0.0
    if spread <= 1e-12 * max(float(np.abs(known).max(initial=0.0)), 1e-300):
        raise ConfigError(
            "the facts of all products score alike, so that no bound follows from them",
            where="eps",
            hint="say by --eps how far a text may move a score",
        )
    return spread / 4


# --------------------------------------------------------------------------------------------------
# The best and the worst rank that any texts can bring a product, exactly.
#
#     bounds = rank_bounds(BoundedScores(facts, texts, eps=0.5))
#     bounds.best[3], bounds.rank[3], bounds.worst[3]       # of product 3
#
# With s_i = a_i + clip(t_i, -eps, eps), where t_i is free for whoever writes text i, and ties
# counted for the attacker:
#
#     best_i  = 1 + #{j != i: s_j > a_i + eps}     any text of i, the others as they are
#     worst_i = 1 + #{j != i: a_j + eps >= s_i}    any texts of all others, i as it is
#
# Both are reached: the first by a text that scores eps, the second by texts that all do. So they
# are no estimates, and no attack, adaptive ones included, is outside of them. `collusion` has the
# same for sellers who work together.
#
# Cost: O(C log C); a million products take about a second. Letters: C products.

Ranks = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class RankBounds:
    """[C] ranks from 1. rank: of the texts as they are (the best of a tie). best: that any text of
    the product can buy. worst: that the texts of all others can force on it."""

    rank: Ranks
    best: Ranks
    worst: Ranks

    @property
    def gain(self) -> Ranks:
        """[C] ranks that a text can win at most."""
        return self.rank - self.best

    @property
    def loss(self) -> Ranks:
        """[C] ranks that others can take at most."""
        return self.worst - self.rank


def rank_bounds(scores: BoundedScores) -> RankBounds:
    """The bounds of every product."""
    honest = scores.honest
    best = 1 + count_above(honest, scores.highest)
    # Product i itself has a_i + eps >= s_i, and is counted once too often.
    worst = count_at_least(scores.highest, honest)
    return RankBounds(1 + count_above(honest, honest), best, worst)


def honest_gain(scores: BoundedScores) -> Ranks:
    """[C] ranks that the text of a product, as it is, brings it over no text, all others as they
    are; below 0 where it costs some."""
    honest = scores.honest
    # Its own score is above that of its facts where its text helps, and no rival.
    without = count_above(honest, scores.facts) - (honest > scores.facts)
    return without - count_above(honest, honest)


def count_above(values: Floats, limits: Floats) -> Ranks:
    """[C] how many of `values` are above each of `limits`."""
    return len(values) - np.searchsorted(np.sort(values), limits, side="right")


def count_at_least(values: Floats, limits: Floats) -> Ranks:
    """[C] how many of `values` are at least each of `limits`."""
    return len(values) - np.searchsorted(np.sort(values), limits, side="left")


# --------------------------------------------------------------------------------------------------
# The same bounds when several sellers work together, exactly.
#
#     colluding_bounds(scores, 3)              # any three products, the worst three for each
#
# A helper can only change its own score, within [a_j - eps, a_j + eps]; it cannot touch another's
# text. So to push product i up, the best that a helper can do is to step out of its way: it writes
# a text that scores -eps. That helps where the helper stood above a_i + eps and can get to it or
# below. To push i down, a helper raises itself to a_j + eps. Of m products that work together, one
# of which is i in the first case and none in the second, ties counted for the attackers:
#
#     above_i  = #{j != i: s_j > a_i + eps}        who stands above the best text of i
#     forced_i = #{j != i: a_j - eps > a_i + eps}  who does so even with the worst text of its own
#     best_i(m)  = 1 + max(above_i - (m - 1), forced_i)
#
#     before_i = #{j != i: s_j >= s_i}             who stands before i already
#     able_i   = #{j != i: a_j + eps >= s_i}       who can come before i with some text
#     worst_i(m) = 1 + min(before_i + m, able_i)
#
# Both are exact: every helper that can matter changes the count by one, and no more than the
# helpers there are can.
#
# Cost: O(C log C). Letters: C products.


def colluding_bounds(scores: BoundedScores, m: int) -> RankBounds:
    """The bounds of every product where `m` products work together: for `best` it and the m - 1
    helpers that serve it most, for `worst` the m others that harm it most.

    m = 1 gives the `best` of `rank_bounds`, m = C - 1 its `worst`. Raises ConfigError for an m
    below 1.
    """
    require_count("m", m)
    honest, highest = scores.honest, scores.highest
    rank = 1 + count_above(honest, honest)
    forced = count_above(scores.lowest, highest)
    best = 1 + np.maximum(count_above(honest, highest) - (m - 1), forced)
    # Each product counts itself in both, as s_i >= s_i and a_i + eps >= s_i.
    before, able = count_at_least(honest, honest) - 1, count_at_least(highest, honest) - 1
    return RankBounds(rank, best, 1 + np.minimum(before + m, able))


#: Names the rule by which the bounds follow from the scores.
FORMAT = "adwright-rank-certificate/2"
_HEAD = ("catalogue", "request", "ranker", "digest", "made", "eps", "colluders", "added")
#: What a product has in the file, by the field that holds it for all.
_COLUMNS = {
    **{"name": "names", "facts": "facts", "text": "texts"},
    **{one: one for one in ("rank", "best", "worst", "best_together", "worst_together")},
}


@dataclass(frozen=True)
class RankCertificate:
    """Rows of products in the order of the catalogue.

    catalogue, request, ranker: what was ranked, for what, by what. digest: SHA-256 of the catalogue
    as it was shown, empty where unknown. made: when, in ISO 8601. eps: the bound on the term of the
    text. colluders: of how many products that work together `best_together` and `worst_together`
    speak. added: products that may join the list, with any facts and texts: each of them can take
    one place from a product and give it none, so that `worst` and `worst_together` are to be raised
    by as many, and `best` and `best_together` stay. names, facts, texts: of the products, and rank,
    best, worst as in `bounds`.
    """

    catalogue: str
    request: str
    ranker: str
    digest: str
    made: str
    eps: float
    colluders: int
    added: int
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
        held = vars(self)
        head = {name: held[name] for name in _HEAD}
        columns = zip(*(held[name] for name in _COLUMNS.values()), strict=True)
        products = [dict(zip(_COLUMNS, row, strict=True)) for row in columns]
        return {"format": FORMAT, **head, "products": products}

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
            scores = BoundedScores(np.array(self.facts), np.array(self.texts), self.eps)
            own = honest_gain(scores)
            said.append(
                f"As it is, its own text brings a product {own.mean():.2f} ranks on average over "
                f"no text: {(own > 0).sum()} go up, the most by {max(own.max(), 0)}."
            )
            said.append(
                f"With {self.colluders} products working together these are {together.mean():.2f} "
                f"on average and {together.max()} at most."
            )
        said.append(
            f"Open: the texts of all these products, the order of the rows, and up to {self.added} "
            f"products that join, each of which can push another down by one place and up by none. "
            "Closed: the names and facts of these products, the request, the ranker, and that none "
            "of them leaves."
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
    added: int = 2,
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
    if type(added) is not int or added < 0:
        raise ConfigError(
            "so many products cannot join", where=f"added {added!r}", hint="such as 2"
        )
    plain, together = rank_bounds(scores), colluding_bounds(scores, colluders)
    return RankCertificate(
        catalogue=catalogue,
        request=request,
        ranker=ranker,
        digest=digest,
        made=made.isoformat(),
        eps=float(scores.eps),
        colluders=colluders,
        added=added,
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
            added=payload["added"],
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


# --------------------------------------------------------------------------------------------------
# Sign a certificate with Ed25519, and check one that somebody else has signed.
#
#     key = make_key("audit.pem")                          # or read_key("audit.pem")
#     write_signed(certificate, key, "kettles.json")
#     read_signed("kettles.json", public_key=...)          # raises where anything was changed
#
# The file is JSON: {"certificate": {...}, "signature": {"algorithm", "public_key", "value"}}, key
# and value in hexadecimal. Signed are the bytes of the certificate as JSON with sorted keys,
# without blanks, in ASCII. A third party needs none of this package: `verifier_source` is a script
# of 50 lines on the standard library and `cryptography`, which checks the signature and computes
# every bound again.
#
# A signature says who states the scores, and that nobody has changed them since. Whose key it is
# has to be known from elsewhere.

ALGORITHM = "Ed25519"
_SHORTEST_KEY = 16
_MOST_KEY, _MOST_FILE = 1 << 16, 1 << 30
_SCRIPT = "verify_certificate.py.txt"
_FEATURE, _EXTRA = "signed certificates", "audit"


@dataclass(frozen=True)
class AuditKey:
    """A private key of Ed25519; it is not shown. public: 64 hexadecimal digits."""

    public: str
    private: Ed25519PrivateKey = field(repr=False, compare=False)


def make_key(path: str | Path) -> AuditKey:
    """A new key, written to `path` in PEM (PKCS #8), which only its owner may read.

    Raises ResourceError where something is there already; MissingExtraError.
    """
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import (
            Encoding,
            NoEncryption,
            PrivateFormat,
        )
    except ImportError as error:
        raise MissingExtraError(_FEATURE, _EXTRA) from error
    private = Ed25519PrivateKey.generate()
    data = private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Never readable by others, not even for a moment, and never over another key.
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise ResourceError(
            "there is a file already", where=str(path), hint="choose another path, or use that key"
        ) from error
    except OSError as error:
        raise resource_error(error, path) or error from error
    with open(descriptor, "wb") as stream:
        stream.write(data)
    return _key(private)


def read_key(path: str | Path) -> AuditKey:
    """The key of a file. Raises ConfigError where it cannot be read, others may read it, or it is
    no private key of Ed25519; MissingExtraError."""
    try:
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
        from cryptography.hazmat.primitives.serialization import load_pem_private_key
    except ImportError as error:
        raise MissingExtraError(_FEATURE, _EXTRA) from error
    try:
        data = read_regular(path, most=_MOST_KEY)
        mode = os.stat(path).st_mode
    except OSError as error:
        raise ConfigError(
            f"the file cannot be read: {error.strerror}",
            where=str(path),
            hint="it must be a plain file that you may read",
        ) from error
    if mode & (stat.S_IRWXG | stat.S_IRWXO):
        raise ConfigError(
            "others may read the private key", where=str(path), hint=f"chmod 600 {path}"
        )
    try:
        private = load_pem_private_key(data, password=None)
    except (ValueError, TypeError) as error:
        raise ConfigError(
            "this is no private key in PEM without a password", where=str(path), hint="make one"
        ) from error
    if not isinstance(private, Ed25519PrivateKey):
        raise ConfigError(f"this is no key of {ALGORITHM}", where=str(path), hint="make one")
    return _key(private)


def signed_text(certificate: RankCertificate, key: AuditKey) -> str:
    """The certificate with its signature, as JSON with a product a line."""
    payload = certificate.payload()
    signature = {
        "algorithm": ALGORITHM,
        "public_key": key.public,
        "value": key.private.sign(_bytes(payload)).hex(),
    }
    write = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
    head = write({name: value for name, value in payload.items() if name != "products"})
    products = ",\n".join(map(write, payload["products"]))
    return (
        f'{{"certificate": {head[:-1]},\n"products": [\n{products}\n]}},\n'
        f'"signature": {write(signature)}}}\n'
    )


def write_signed(certificate: RankCertificate, key: AuditKey, path: str | Path) -> Path:
    """Write `signed_text` to `path`, whole or not at all; returns it."""
    path = Path(path)
    atomic_write_text(path, signed_text(certificate, key))
    return path


def read_signed(path: str | Path, *, public_key: str | None = None) -> RankCertificate:
    """The certificate of a file whose signature holds and whose bounds follow from its scores.

    public_key: of who should have signed, or its first 16 digits at least; None takes the one in
    the file, which says only that the certificate was not changed. Raises FileUnreadableError
    where it is no such file, and
    ValueInvalidError where the signature is of another key or does not hold, or a bound is wrong.
    """
    try:
        from cryptography.exceptions import InvalidSignature
        from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
    except ImportError as error:
        raise MissingExtraError(_FEATURE, _EXTRA) from error
    try:
        whole = json.loads(
            read_regular(path, most=_MOST_FILE).decode("utf-8"), object_pairs_hook=_once
        )
        payload, signature = whole["certificate"], whole["signature"]
        stated, value = signature["public_key"], bytes.fromhex(signature["value"])
        algorithm, data = signature["algorithm"], _bytes(payload)
        public = Ed25519PublicKey.from_public_bytes(bytes.fromhex(stated))
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise FileUnreadableError(
            f"this is no signed certificate: {error}", file=str(path), hint="ask for it anew"
        ) from error
    if public_key is not None and len(public_key) < _SHORTEST_KEY:
        raise ConfigError(
            f"of a key at least {_SHORTEST_KEY} digits are needed",
            where=f"public key {public_key}",
            hint="fewer are soon found for another key",
        )
    known = public_key is None or stated.lower().startswith(public_key.lower())
    if algorithm != ALGORITHM or not known:
        raise ValueInvalidError(
            "the certificate is signed by another key",
            file=str(path),
            value=stated,
            hint="ask who signed it",
        )
    try:
        public.verify(value, data)
    except InvalidSignature as error:
        raise ValueInvalidError(
            "the signature does not hold: the file was changed after it was signed",
            file=str(path),
            hint="ask for it anew",
        ) from error
    return read_certificate(payload)


def verifier_source() -> str:
    """The script that checks a certificate without this package."""
    return files(__package__).joinpath(_SCRIPT).read_text("utf-8")


def _key(private: Ed25519PrivateKey) -> AuditKey:
    return AuditKey(private.public_key().public_bytes_raw().hex(), private)


def _bytes(payload: Any) -> bytes:
    """What is signed: the same bytes for the same values, whatever the file looks like."""
    return json.dumps(payload, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key is given twice")
    return found
