"""Texts of so many tokens, from the products that a supermarket really sold."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from random import Random

from adwright.data.sources.complete_journey import CompleteJourney

_PRODUCTS = 20_000


class CatalogueTexts:
    """Draws texts from the catalogue of Complete Journey. count: tokens of a text."""

    def __init__(self, count: Callable[[str], int]) -> None:
        self.count = count
        self._tokens: dict[str, int] = {}

    def text(self, tokens: int, draw: Random) -> str:
        """Lines about products, of about so many tokens together, never more by a line."""
        lines: list[str] = []
        left = tokens
        while left > 0:
            line = draw.choice(self._lines)
            if line not in self._tokens:
                self._tokens[line] = self.count(line + "\n")
            if lines and self._tokens[line] > left:
                break
            lines.append(line)
            left -= self._tokens[line]
        return "\n".join(lines)

    @cached_property
    def _lines(self) -> list[str]:
        table = (
            CompleteJourney.open()
            .products()
            .drop_nulls(["product_type", "package_size", "brand", "product_category", "department"])
            .sort("product_id")
            .head(_PRODUCTS)
            .collect()
        )
        return [
            f"- {row['product_type'].lower()}, {row['package_size'].lower()}, a {row['brand']} "
            f"brand, from {row['product_category'].lower()} in {row['department'].lower()}"
            for row in table.iter_rows(named=True)
        ]
