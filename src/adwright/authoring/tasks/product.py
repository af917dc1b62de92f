"""A product, as its seller describes it: the facts that a text about it may rest on.

tea = Product("t1", "Mill Lane Assam 80 bags", brand="Mill Lane", price="3.49", currency="GBP")
tea.facts() == ("Mill Lane Assam 80 bags", "Mill Lane", "3.49 GBP")
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from adwright.core.errors import ValueInvalidError

_CURRENCY = re.compile(r"[A-Z]{3}")
#: A language, then a script, a region and variants, as BCP 47 (RFC 5646) has them.
_LOCALE = re.compile(r"[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*")


@dataclass(frozen=True)
class Product:
    """What is known of one product. Empty means that it is not known.

    id: of the seller's, never empty. title, description, brand, category: texts, as given.
    price: as given, such as "19.99"; it is never made a number. currency: three capital letters
    (ISO 4217). attributes: pairs of a name and a value, in the order given. locale: the language of
    the texts (BCP 47), such as "en" or "pt-BR".

    Raises ValueInvalidError for an empty id, a currency or locale of another form, and an attribute
    without a name.
    """

    id: str
    title: str
    description: str = ""
    brand: str = ""
    category: str = ""
    price: str = ""
    currency: str = ""
    attributes: tuple[tuple[str, str], ...] = ()
    locale: str = "en"

    def __post_init__(self) -> None:
        self._require(bool(self.id.strip()), "id", "a product needs an id", "give each one an id")
        self._require(
            not self.currency or _CURRENCY.fullmatch(self.currency) is not None,
            "currency",
            "a currency is three capital letters",
            "write it as ISO 4217 does: EUR",
        )
        self._require(
            _LOCALE.fullmatch(self.locale) is not None,
            "locale",
            "a locale is a tag of BCP 47",
            "write en, de-AT or zh-Hant",
        )
        self._require(
            all(name.strip() for name, _ in self.attributes),
            "attributes",
            "an attribute needs a name",
            "name it, or leave it out",
        )

    def facts(self) -> tuple[str, ...]:
        """Every text that a claim about it may rest on, none of them empty.

        Title, description, brand, category, price with currency, and `name: value` of each
        attribute that has a value, in this order.
        """
        price = f"{self.price.strip()} {self.currency}" if self.price.strip() else ""
        named = (f"{name}: {value}" for name, value in self.attributes if value.strip())
        every = (self.title, self.description, self.brand, self.category, price, *named)
        return tuple(one.strip() for one in every if one.strip())

    def _require(self, holds: bool, column: str, what: str, hint: str) -> None:
        if not holds:
            raise ValueInvalidError(what, column=column, value=getattr(self, column), hint=hint)
