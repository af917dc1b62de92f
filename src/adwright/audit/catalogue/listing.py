"""One product as a shop shows it: facts that the shop vouches for, and what its seller writes.

    one = ShopListing("Kettle", {"Price": "$19", "Rating": 4.1}, {"Description": "Boils water."})
    one.with_text("Description", "Boils water fast.").shown()

The difference between attributes and texts is what an audit is about: an attack writes into texts
alone, and a bound on what texts can do holds only where attributes are facts. A claim that a
seller may write into a field is text, whatever the field is called (`as_text`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from adwright.core.errors import ConfigError
from adwright.core.hashing import sha256_bytes

#: The value of an attribute.
Fact = str | float | int | bool | None


@dataclass(frozen=True)
class ShopListing:
    """A product.

    name: what the shopper is told, unique in its catalogue. attributes: facts of the catalogue's
    schema, which the shop vouches for. texts: what the seller writes, by the name of the field.
    merchant: who that is; empty where nobody says. fields: the names of all fields in the order of
    the source, the field of the name too; empty for the name, the attributes, the texts.
    name_field: what the source calls the name.

    Raises ConfigError where a field is both, or `fields` names others than there are.
    """

    name: str
    attributes: Mapping[str, Fact] = field(default_factory=dict)
    texts: Mapping[str, str] = field(default_factory=dict)
    merchant: str = ""
    fields: tuple[str, ...] = ()
    name_field: str = "Name"

    def __post_init__(self) -> None:
        there = [self.name_field, *self.attributes, *self.texts]
        twice = sorted({one for one in there if there.count(one) > 1})
        if twice:
            raise ConfigError(
                "a field is more than one of name, attribute and text",
                where=f"{self.name}: {twice[0]}",
                hint="a field that its seller may write is a text",
            )
        if not self.fields:
            object.__setattr__(self, "fields", tuple(there))
        elif sorted(self.fields) != sorted(there):
            raise ConfigError(
                "fields has to name the name, the attributes and the texts, each once",
                where=f"{self.name}: {sorted(set(self.fields) ^ set(there))}",
                hint="leave it out for the usual order",
            )

    def __hash__(self) -> int:
        return hash((self.name, self.merchant, self.shown()))

    @property
    def text_fields(self) -> tuple[str, ...]:
        """The fields that its seller writes, in the order in which they are shown."""
        return tuple(one for one in self.fields if one in self.texts)

    def with_text(self, field: str, text: str) -> ShopListing:
        """The listing with another text in a field of its texts. Raises ConfigError for a field
        that is none of them: facts are not for a seller to write."""
        if field not in self.texts:
            raise ConfigError(
                "this is no text of the listing",
                where=f"{self.name}: {field!r}",
                hint=f"its texts are {', '.join(self.texts) or 'none'}",
            )
        return replace(self, texts={**self.texts, field: text})

    def without_texts(self) -> ShopListing:
        """The listing as its facts alone show it: every text is empty."""
        return replace(self, texts=dict.fromkeys(self.texts, ""))

    def as_text(self, field: str) -> ShopListing:
        """The listing in which an attribute counts as a text of the seller. Raises ConfigError for
        a field that is no attribute."""
        if field not in self.attributes:
            raise ConfigError(
                "this is no attribute of the listing",
                where=f"{self.name}: {field!r}",
                hint=f"its attributes are {', '.join(self.attributes) or 'none'}",
            )
        value = self.attributes[field]
        rest = {one: held for one, held in self.attributes.items() if one != field}
        text = "" if value is None else str(value)
        return replace(self, attributes=rest, texts={**self.texts, field: text})

    def shown(self) -> str:
        """One line of JSON with the fields in the order of the source, as the released code of
        "Manipulating LLMs to Increase Product Visibility" shows it to the model."""
        return json.dumps({one: self._value(one) for one in self.fields}, ensure_ascii=False)

    def digest(self) -> str:
        """SHA-256 of what is shown and whose it is."""
        return sha256_bytes(f"{self.merchant}\n{self.shown()}".encode("utf-8", "surrogatepass"))

    def _value(self, name: str) -> Fact:
        if name == self.name_field:
            return self.name
        return self.texts[name] if name in self.texts else self.attributes[name]
