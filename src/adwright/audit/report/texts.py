"""The texts that an audit tries: which product, which field, by which kind of attack.

    {"product": "ColdBrew Master", "field": "Ideal For", "text": "..", "tier": "T2", "run": "0"}

one a line, as attacks write them and `read_texts` reads them. Each was written to measure a
weakness of one's own shop, and carries a mark that says so.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from adwright.audit.catalogue.catalogue import ShopCatalogue
from adwright.core.atomic import atomic_write_text
from adwright.core.errors import DataError, FileUnreadableError, ValueInvalidError

#: What every file with such texts says.
AUDIT_MARK = "written by an audit to measure a weakness of one's own shop; not for publication"
#: What the tiers of controls begin with: random tokens, the name again, a truthful sentence.
CONTROL = "control"
_MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class SellerText:
    """A text for a field of a product.

    product: its name. tier: the kind of attack, "T0" to "T4" as the documentation has them, or a
    control ("control random"). run: which of several attempts, such as its seed. whole: whether the
    text is all of the field, else it follows what the seller wrote.
    """

    product: str
    field: str
    text: str
    tier: str
    run: str = ""
    whole: bool = True

    @property
    def control(self) -> bool:
        """Whether it is there to be compared with, and no attack."""
        return self.tier.startswith(CONTROL)


def with_text(catalogue: ShopCatalogue, text: SellerText) -> ShopCatalogue:
    """The catalogue in which the product shows the text. Raises ConfigError for another product,
    and for a field that is none of its texts."""
    row = catalogue.index(text.product)
    listing = catalogue.listings[row]
    before = "" if text.whole else listing.texts.get(text.field, "")
    joined = f"{before} {text.text}".strip() if before else text.text
    return catalogue.with_listing(row, listing.with_text(text.field, joined))


def write_texts(path: str | Path, texts: Iterable[SellerText]) -> None:
    """Write them as JSON lines, whole or not at all. Raises as `atomic_write_text`."""
    lines = [
        json.dumps(
            {
                "product": one.product,
                "field": one.field,
                "text": one.text,
                "tier": one.tier,
                "run": one.run,
                "whole": one.whole,
                "audit": AUDIT_MARK,
            }
        )
        for one in texts
    ]
    atomic_write_text(path, "".join(f"{line}\n" for line in lines))


def read_texts(path: str | Path, catalogue: ShopCatalogue) -> list[SellerText]:
    """The texts of a file, each checked against the catalogue.

    Raises FileUnreadableError where it cannot be read; ValueInvalidError with the line, from 0, for
    one that is no such object, whose product the catalogue lacks or whose field is no text of it.
    """
    lines = _lines(Path(path))
    found = [_read(line, str(path), row) for row, line in enumerate(lines) if line.strip()]
    for row, one in enumerate(found):
        listing = next((each for each in catalogue.listings if each.name == one.product), None)
        if listing is None or one.field not in listing.texts:
            what = "product" if listing is None else "text field"
            raise ValueInvalidError(
                f"the catalogue has no such {what}",
                file=str(path),
                row=row,
                value=one.product if listing is None else one.field,
                hint=f"it has {', '.join(_few(catalogue, one.product))}",
            )
    if not found:
        raise DataError("the file has no text", file=str(path), hint="let an attack write some")
    return found


def _few(catalogue: ShopCatalogue, product: str) -> Sequence[str]:
    if product not in catalogue.names:
        return catalogue.names[:10]
    return list(catalogue.listings[catalogue.index(product)].texts) or ["none"]


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text("utf-8").split("\n")
    except FileNotFoundError as error:
        raise FileUnreadableError(
            "there is no such file", file=str(path), hint="check the path"
        ) from error
    except (OSError, UnicodeDecodeError) as error:
        raise FileUnreadableError(
            f"the texts cannot be read: {error}", file=str(path), hint="write JSON lines in UTF-8"
        ) from error


def _read(line: str, file: str, row: int) -> SellerText:
    try:
        value = json.loads(line) if len(line) <= _MOST_BYTES else None
    except (ValueError, RecursionError):
        value = None
    wanted = ("product", "field", "text", "tier")
    if not isinstance(value, dict) or not all(isinstance(value.get(one), str) for one in wanted):
        raise ValueInvalidError(
            "this line is no text of an audit",
            file=file,
            row=row,
            value=line[:60],
            hint=f"write an object with the texts {', '.join(wanted)}",
        )
    return SellerText(
        value["product"],
        value["field"],
        value["text"],
        value["tier"],
        str(value.get("run", "")),
        value.get("whole", True) is True,
    )
