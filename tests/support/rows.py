"""Lines of instruction data, read back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from adwright.authoring.instructions.rows import InstructionRow
from adwright.authoring.tasks import Product
from adwright.lm.engine.generation import Message


def row_from(line: str) -> InstructionRow:
    """What `InstructionRow.to_line` wrote."""
    found = json.loads(line)
    *turns, answer = (Message(**one) for one in found.pop("messages"))
    for name in ("read", "written"):
        assert found.pop(name)
    product = found.pop("product")
    product["attributes"] = tuple(tuple(pair) for pair in product.get("attributes", ()))
    found["values"] = tuple(tuple(pair) for pair in found["values"])
    found |= {name: tuple(found[name]) for name in ("labels", "passed")}
    cluster = found.pop("group")
    return InstructionRow(
        **found,
        turns=tuple(turns),
        answer=answer.content,
        product=Product(**product),
        cluster=cluster,
    )


def read_rows(path: Path) -> Iterator[InstructionRow]:
    """The rows of a file."""
    return (row_from(line) for line in path.read_text("utf-8").split("\n") if line)
