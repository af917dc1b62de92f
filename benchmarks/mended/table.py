"""Prints what was mended, before and after, area by area. A second."""

from __future__ import annotations

import json

from benchmarks.mended import KEPT


def main() -> None:
    for path in sorted(KEPT.glob("*.json")):
        print(f"\n| {path.stem} | before | after |\n|---|---|---|")
        for row in json.loads(path.read_text("utf-8"))["rows"]:
            print(f"| {row['what']} | {row.get('before', '')} | {row.get('after', '')} |")


if __name__ == "__main__":
    main()
