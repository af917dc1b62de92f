"""What a certificate costs by size of catalogue, and whether any of many attacks is outside of one.

    python -m benchmarks.audit.certificate       the result (a minute)

Attacks: random texts, extreme ones, and such as go right to the bound, of one product, of all
others, and of m products together; a rank that a bound does not cover ends the script. What is
timed are the bounds alone, with those of products that work together, and the whole certificate,
signed, written, read back with every bound computed anew.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

from adwright.audit.certificate.certificate import (
    BoundedScores,
    colluding_bounds,
    make_certificate,
    make_key,
    rank_bounds,
    read_signed,
    write_signed,
)
from adwright.core.hashing import content_hash
from benchmarks.common.result import write_result

Floats = NDArray[np.float64]

_SIZES = (10_000, 100_000, 1_000_000)
_EPS, _TOGETHER = 0.2, 3
_TRIES = 6_000
_COUNTS, _BOUNDS = (2, 5, 10, 25), (0.0, 0.1, 0.5, 1.0)
_PROTOCOL = (
    f"Facts and texts of a normal distribution, drawn anew for each size and bound. bounds: best "
    f"and worst ranks of all products, those of {_TOGETHER} that work together included; "
    f"certificate: the same with names, signed, written, read back and every bound computed anew; "
    f"CPU-seconds of one process, bound {_EPS}. Attacks: score vectors on lists of "
    f"{', '.join(map(str, _COUNTS))} products behind bounds of {', '.join(map(str, _BOUNDS))}, a "
    f"third normal with a standard deviation of 10, a third of extremes and of the bounds "
    f"themselves, a third of a billion either way; on each the product, all others, or "
    f"{_TOGETHER} products change theirs, and ties count for the attacker. tests/audit compares "
    f"the same bounds with all assignments of scores on small lists."
)


def main() -> None:
    """Measure, and write benchmarks/results/certificate.json."""
    rng = np.random.default_rng(0)
    rows = [_costs(size, rng) for size in _SIZES]
    tried = sum(_attacked(count, eps, rng) for count in _COUNTS for eps in _BOUNDS)
    last = rows[-1]
    figures = {
        "certificate_million_bounds_cpu_seconds": last["bounds_cpu_seconds"],
        "certificate_million_cpu_seconds": last["certificate_cpu_seconds"],
        "certificate_attacks": tried,
        "certificate_attacks_outside": 0,
    }
    data = content_hash([*_SIZES, *_COUNTS, *_BOUNDS, _TRIES])
    write_result(
        "certificate", protocol=_PROTOCOL, data=data, seeds=[0], rows=rows, figures=figures
    )


def _costs(size: int, rng: np.random.Generator) -> dict[str, float | int]:
    facts, texts = rng.normal(size=(2, size))
    scores = BoundedScores(facts, texts, _EPS)
    names = [f"product {row}" for row in range(size)]
    with TemporaryDirectory() as folder:
        key, file = make_key(Path(folder) / "key.pem"), Path(folder) / "certificate.json"

        def bounds() -> None:
            rank_bounds(scores)
            colluding_bounds(scores, _TOGETHER)

        def certificate() -> None:
            made = make_certificate(
                *("products", "some product", names, scores),
                ranker="facts and texts",
                made=datetime(2026, 1, 1, tzinfo=UTC),
                colluders=_TOGETHER,
            )
            write_signed(made, key, file)
            read_signed(file, public_key=key.public)

        return {
            "products": size,
            "bounds_cpu_seconds": _seconds(bounds),
            "certificate_cpu_seconds": _seconds(certificate),
        }


def _seconds(work: Callable[[], None]) -> float:
    began = time.process_time()
    work()
    return round(time.process_time() - began, 2)


def _attacked(count: int, eps: float, rng: np.random.Generator) -> int:
    """Score vectors that were tried on one list; one outside of its bounds ends the script."""
    facts, texts = rng.normal(size=(2, count)).round(1)
    scores = BoundedScores(facts, texts, eps)
    plain, together = rank_bounds(scores), colluding_bounds(scores, min(_TOGETHER, count))
    attacked = facts + np.clip(_texts(rng, count), -eps, eps)
    row, at = rng.integers(0, count, _TRIES), np.arange(_TRIES)
    honest = np.broadcast_to(scores.honest, attacked.shape)
    own = np.zeros(attacked.shape, bool)
    own[at, row] = True
    # Who works together: the product and those that a shuffle puts first.
    places = rng.permuted(np.broadcast_to(np.arange(count), attacked.shape), axis=1)
    some = own | (places < min(_TOGETHER, count) - 1) & ~own
    best = _ranks(np.where(own, attacked, honest), row)
    best_together = _ranks(np.where(some, attacked, honest), row)
    worst = _ranks(np.where(own, honest, attacked), row, ties=True)
    inside = (best >= plain.best[row]) & (worst <= plain.worst[row])
    inside &= best_together >= together.best[row]
    if not inside.all():
        raise SystemExit(f"an attack is outside of its bound: {count} products, eps {eps}")
    return _TRIES * 3


def _ranks(values: Floats, row: NDArray[np.int64], *, ties: bool = False) -> NDArray[np.int64]:
    """Of product `row` of each list [T, n]. ties: count against it."""
    own = np.take_along_axis(values, row[:, None], axis=1)
    above = values >= own if ties else values > own
    return np.asarray(above.sum(1) + (0 if ties else 1), np.int64)


def _texts(rng: np.random.Generator, count: int) -> Floats:
    """Terms [T, n] that texts might reach."""
    shape = (_TRIES, count)
    kind, drawn = rng.integers(0, 3, shape), rng.normal(scale=10, size=shape)
    ends = rng.choice([-1e300, 1e300, *itertools.chain(_BOUNDS, np.negative(_BOUNDS))], size=shape)
    return np.where(kind == 0, drawn, np.where(kind == 1, ends, np.sign(drawn) * 1e9))


if __name__ == "__main__":
    main()
