"""The same numbers before and after, bit for bit: two checkouts train alike. 3 minutes.

    python -m benchmarks.common.same_weights --before 8958e0b
    python -m benchmarks.common.same_weights --record build/weights.json

Each checkout trains the five trainees of `_trainees` in a process of its own: the same data, the
same seeds, one thread. The weights that a run leaves behind, which validation has chosen, and those
after its last step are compared by SHA-256, tensor by tensor. What one checkout came to can be
recorded, and given as `--before` later on the same machine: another processor may round otherwise.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from adwright.core.assets import pins
from benchmarks.common._checkouts import ROOT, checkout, environment
from benchmarks.common._trainees import digest
from benchmarks.common.result import RESULTS, write_result

#: SHA-256 of each tensor, by trainee and name.
Hashes = Mapping[str, Mapping[str, str]]
PROTOCOL = (
    "MovieLens 100k, the ratings of one person in eight. fit, fit_retriever, fit_sequential, tune "
    "and tune_jobs each train a small model from fixed seeds with one thread, by the code before "
    "and by the code after; sequential_fused is HSTU again with the compiled attention. Compared "
    "are the weights that a run leaves behind and those after its last step; equal are tensors of "
    "the same name, type, shape and bytes."
)


def trained(top: Path) -> dict[str, dict[str, str]]:
    """What the code in the checkout `top` comes to: {trainee: {tensor: sha256}}."""
    with TemporaryDirectory() as scratch:
        out = Path(scratch) / "hashes.json"
        subprocess.run(
            [sys.executable, "-m", "benchmarks.common._trainees", str(out)],
            cwd=ROOT,
            env=environment(top, Path(scratch)),
            check=True,
        )
        return dict(json.loads(out.read_text("utf-8")))


def compared(before: Hashes, after: Hashes) -> list[dict[str, Any]]:
    """A row a trainee. tensors: of the weights after. equal: of these, as before. sha256: of all
    after together; sha256_before."""
    rows = []
    for name, tensors in after.items():
        earlier = before.get(name, {})
        rows.append(
            {
                "trainee": name,
                "tensors": len(tensors),
                "tensors_before": len(earlier),
                "equal": sum(earlier.get(key) == value for key, value in tensors.items()),
                "sha256": digest(tensors),
                "sha256_before": digest(earlier),
            }
        )
    return rows


def _hashes_of(what: str) -> dict[str, dict[str, str]]:
    """Of a file of recorded hashes, or of a checkout, which trains."""
    if Path(what).is_file():
        return dict(json.loads(Path(what).read_text("utf-8")))
    with checkout(what) as top:
        return trained(top)


def main() -> None:
    """Compare, or record; exits with 1 where a weight differs."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--before", default="8958e0b", help="folder, revision or recorded file")
    parser.add_argument("--after", default=str(ROOT), help="the same; this checkout by default")
    parser.add_argument("--record", type=Path, help="only write the hashes of --after to a file")
    parser.add_argument("--folder", type=Path, default=RESULTS, help="of the result")
    asked = parser.parse_args()
    after = _hashes_of(asked.after)
    if asked.record:
        asked.record.write_text(json.dumps(after, indent=1) + "\n", "utf-8")
        for name, tensors in after.items():
            print(f"{name}: {len(tensors)} tensors, {digest(tensors)}")
        return
    rows = compared(_hashes_of(asked.before), after)
    same = [r for r in rows if r["equal"] == r["tensors"] == r["tensors_before"]]
    write_result(
        "same_weights",
        protocol=PROTOCOL,
        data=pins()["recbole"].sha256,
        seeds=[0],
        rows=rows,
        figures={
            "trainees": len(rows),
            "trainees_equal": len(same),
            **{f"tensors_{row['trainee']}": row["tensors"] for row in rows},
            **{f"equal_{row['trainee']}": row["equal"] for row in rows},
        },
        folder=asked.folder,
    )
    sys.exit(len(same) < len(rows))


if __name__ == "__main__":
    main()
