"""Which texts a job has to write: a row each, told apart by the hash of all that it follows from.

    plan = make_plan(table, config, recipe.digests, drafts)
    plan.rows, plan.same, plan.human

A row whose text is there with the same inputs is not written again, which makes a job resumable,
and one whose product has changed is.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import NamedTuple

from adwright.authoring.tasks.product import Product
from adwright.authoring.tasks.task import AuthoringRequest
from adwright.authoring.writer.config import WriteConfig
from adwright.authoring.writer.draft import Key
from adwright.authoring.writer.drafts import Drafts
from adwright.authoring.writer.shop.products import ProductTable
from adwright.authoring.writer.slots import WriterSlot, slot_named
from adwright.core.errors import SchemaError
from adwright.core.hashing import content_hash

#: Digits of a hash: enough for billions of rows.
_DIGITS = 24


class WriteRow(NamedTuple):
    """A text that is to be written. values: further fields of its request. inputs: hash of all
    that it follows from."""

    product: Product
    slot: WriterSlot
    variant: int
    values: tuple[tuple[str, str], ...]
    product_hash: str
    inputs: str

    @property
    def key(self) -> Key:
        """Product, slot, variant."""
        return self.product.id, self.slot.name, self.variant

    def request(self, labels: Sequence[str]) -> AuthoringRequest:
        """What a model is asked. Raises ValueInvalidError where the product lacks what the task
        needs."""
        known = {slot.name for slot in self.slot.task.presented}
        values = tuple((name, text) for name, text in self.values if name in known)
        closed = tuple(labels) if self.slot.task.form == "label" else ()
        return AuthoringRequest(self.slot.task, self.product, values, closed)


@dataclass(frozen=True)
class WritePlan:
    """rows: to be written, all texts of a product after each other. same: texts that are there
    with these inputs. human: that a person's decision keeps. products: that are planned for."""

    rows: tuple[WriteRow, ...]
    same: int
    human: int
    products: int


def make_plan(
    table: ProductTable,
    config: WriteConfig,
    recipes: Mapping[str, str],
    drafts: Drafts | None = None,
) -> WritePlan:
    """The texts of a job. recipes: slot -> hash of what its texts follow from beside their product,
    see `WriteRecipe.digests`. drafts: those that are there.

    Raises SchemaError where a column of values is missing.
    """
    slots = [slot_named(name, config.platform) for name in config.slots]
    columns = _value_columns(table, config)
    rows: list[WriteRow] = []
    same = human = 0
    products = _sampled(table.products, config)
    for product in products:
        values = (*config.values, *_values_of(table, product, columns))
        digest = product_hash(product)
        for slot in slots:
            for variant in range(config.variants):
                inputs = _hash(recipes[slot.name], digest, slot.name, str(variant), repr(values))
                row = WriteRow(product, slot, variant, values, digest, inputs)
                became = "written" if drafts is None else _became(drafts, row, config)
                same += became == "same"
                human += became == "human"
                if became == "written":
                    rows.append(row)
    return WritePlan(tuple(rows), same, human, len(products))


def product_hash(product: Product) -> str:
    """Hash of all that is known of a product."""
    return content_hash(asdict(product))[:_DIGITS]


def _became(drafts: Drafts, row: WriteRow, config: WriteConfig) -> str:
    state = drafts.states().get(row.key)
    again = config.again and state is not None and state.status == "rejected"
    return drafts.hinders(
        row.key, row.inputs, row.product_hash, over_edits=config.over_edits, again=again
    )


def _sampled(products: Sequence[Product], config: WriteConfig) -> Sequence[Product]:
    """All, or as many as are asked for: those of the least hashes, so that a larger sample holds a
    smaller one, whatever else the table has."""
    if not config.sample or config.sample >= len(products):
        return products
    drawn = sorted(products, key=lambda one: _hash(str(config.seed), one.id))[: config.sample]
    chosen = {one.id for one in drawn}
    return [one for one in products if one.id in chosen]


def _value_columns(table: ProductTable, config: WriteConfig) -> Mapping[str, str]:
    for name, column in config.value_columns:
        if column not in table.frame.columns:
            raise SchemaError(
                f"the table has no column {column!r}, which is to be {name}",
                file=str(table.path),
                column=column,
                hint=f"the table has {', '.join(one[:60] for one in table.frame.columns[:20])}",
            )
    return dict(config.value_columns)


def _values_of(
    table: ProductTable, product: Product, columns: Mapping[str, str]
) -> tuple[tuple[str, str], ...]:
    row = table.rows[product.id]
    found = ((name, table.frame[column][row]) for name, column in columns.items())
    return tuple((name, str(cell)) for name, cell in found if cell is not None)


def _hash(*parts: str) -> str:
    return hashlib.sha256("\x1f".join(parts).encode("utf-8", "replace")).hexdigest()[:_DIGITS]
