"""Numbers of accounts and cards in a text, told by their check digits.

    [text[start:end] for start, end in account_spans("Pay to DE89 3704 0044 0532 0130 00.")]
    # ["DE89 3704 0044 0532 0130 00"]

Codes of goods look like them, and have other check digits. An IBAN (ISO 13616-1) has the length
that its country has in SWIFT's IBAN registry, release 101, and leaves 1 when it is divided by 97
(ISO/IEC 7064, MOD 97-10). A card of payment ends in the check digit of Luhn (ISO/IEC 7812-1). Both
are found written together or in groups, in capitals or not. One code of goods in 97 that has the
form and the length of an IBAN is one by its check digits, too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache

#: Country and length of its accounts.
_REGISTRY = (
    "AD24 AE23 AL28 AT20 AZ28 BA20 BE16 BG22 BH22 BI27 BR29 BY28 CH21 CR22 CY28 CZ24 DE22 DJ27 "
    "DK18 DO28 EE20 EG29 ES24 FI18 FK18 FO18 FR27 GB22 GE22 GI23 GL18 GR27 GT28 HN28 HR21 HU28 "
    "IE22 IL23 IQ23 IS26 IT27 JO30 KW30 KZ20 LB28 LC32 LI21 LT20 LU20 LV21 LY25 MC27 MD24 ME22 "
    "MK19 MN20 MR27 MT31 MU30 NI28 NL18 NO15 OM23 PK24 PL28 PS29 PT25 QA29 RO24 RS22 RU33 SA24 "
    "SC31 SD18 SE24 SI19 SK24 SM27 SO23 ST25 SV28 TL23 TN24 TR26 UA29 VA22 VG24 XK20 YE30"
)
_LENGTHS = {code: int(length) for code, length in re.findall(r"([A-Z]{2})([0-9]{2})", _REGISTRY)}
_SIGN, _BETWEEN = "[A-Za-z0-9]", "[ \u00a0\u202f-]"
_BEGIN = re.compile(r"(?<!\w)([A-Za-z]{2})[0-9]{2}")
_CARD = re.compile(r"(?<![\w@])[0-9]{4}[ -][0-9]{4}[ -][0-9]{4}[ -][0-9]{4}(?![\w@])")


def account_spans(text: str) -> Iterator[tuple[int, int]]:
    """Where IBANs stand, as start and end, from left to right."""
    last = 0
    for begin in _BEGIN.finditer(text):
        length = _LENGTHS.get(begin[1].upper())
        if length is None or begin.start() < last:
            continue
        found = _form(length).match(text, begin.start())
        if found is not None and is_iban(found[0]):
            last = found.end()
            yield found.span()


def card_spans(text: str) -> Iterator[tuple[int, int]]:
    """Where numbers of cards stand, in four groups of four."""
    for found in _CARD.finditer(text):
        if is_card(found[0]):
            yield found.span()


def is_iban(text: str) -> bool:
    """Whether a text is an IBAN, with or without blanks: country, length and check digits."""
    plain = re.sub(_BETWEEN, "", text).upper()
    if not (plain.isascii() and plain.isalnum() and plain[2:4].isdecimal()):
        return False
    if len(plain) != _LENGTHS.get(plain[:2]):
        return False
    return int("".join(str(int(sign, 36)) for sign in plain[4:] + plain[:4])) % 97 == 1


def is_card(text: str) -> bool:
    """Whether digits, with or without blanks, end in their check digit by Luhn's formula."""
    digits = re.sub(_BETWEEN, "", text)
    if not (digits.isascii() and digits.isdecimal()):
        return False
    total = 0
    for place, sign in enumerate(reversed(digits)):
        value = int(sign) * (2 if place % 2 else 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0


@cache
def _form(length: int) -> re.Pattern[str]:
    """So many signs, together or in groups of four."""
    groups, rest = divmod(length, 4)
    tail = rf"{_BETWEEN}?{_SIGN}{{{rest}}}" if rest else ""
    return re.compile(rf"{_SIGN}{{4}}(?:{_BETWEEN}?{_SIGN}{{4}}){{{groups - 1}}}{tail}(?!\w)")
