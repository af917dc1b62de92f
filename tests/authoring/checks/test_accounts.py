from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from adwright.authoring.checks.limits import account_spans, card_spans, is_card, is_iban
from adwright.authoring.checks.policy import check_policy

#: Examples of SWIFT's IBAN registry, in the form in which they are printed.
REAL_FORM = (
    *("AD12 0001 2030 2003 5910 0100", "AT61 1904 3002 3457 3201", "BE68 5390 0754 7034"),
    *("CH93 0076 2011 6238 5295 7", "DE89 3704 0044 0532 0130 00", "DK50 0040 0440 1162 43"),
    *("ES91 2100 0418 4502 0005 1332", "FI21 1234 5600 0007 85", "GB29 NWBK 6016 1331 9268 19"),
    *("FR14 2004 1010 0505 0001 3M02 606", "IE29 AIBK 9311 5212 3456 78"),
    *("IT60 X054 2811 1010 0000 0123 456", "LU28 0019 4006 4475 0000", "NL91 ABNA 0417 1643 00"),
    *(
        "MT84 MALT 0110 0001 2345 MTLC AST0 01S",
        "NO93 8601 1117 947",
        "SE45 5000 0000 0583 9825 7466",
    ),
    *("PL61 1090 1014 0000 0712 1981 2874", "TR33 0006 1005 1978 6457 8413 26"),
)


def found(text: str) -> list[str]:
    return [text[start:end] for start, end in account_spans(text)]


@pytest.mark.parametrize("account", REAL_FORM)
def test_real_forms_are_found_whatever_stands_around_them(account: str) -> None:
    solid = account.replace(" ", "")
    for one in (account, solid, solid.lower(), account.replace(" ", "-")):
        assert is_iban(one)
        assert found(one) == [one]
        assert found(f"Pay to {one} with your name, four more here") == [one]
        assert found(f"({one}).") == [one]
    assert found(f"{account} {solid}") == [account, solid]


@pytest.mark.parametrize("account", REAL_FORM)
def test_a_wrong_digit_or_length_is_no_account(account: str) -> None:
    for at, sign in enumerate(account):
        if sign.isdigit():
            other = f"{account[:at]}{(int(sign) + 1) % 10}{account[at + 1 :]}"
            assert not is_iban(other)
            assert found(f"Pay to {other} today") == []
    solid = account.replace(" ", "")
    assert not is_iban(solid + "0")
    assert not is_iban(solid[:-1])
    assert found(f"x{solid}") == found(f"{solid}0") == found(f"{solid}_1") == []


@pytest.mark.parametrize(
    "text", ["", "DE", "XX89 3704 0044 0532 0130 00", "DE8٩370400440532013000"]
)
def test_what_is_no_account(text: str) -> None:
    assert not is_iban(text)
    assert found(text) == []


def test_cards() -> None:
    assert list(card_spans("card 4111 1111 1111 1111, 5500-0000-0000-0004")) == [(5, 24), (26, 45)]
    assert list(card_spans("4111 1111 1111 1112")) == []
    assert is_card("378282246310005")
    assert not is_card("378282246310006")
    assert not is_card("3782 ff")


@given(st.text(max_size=60), st.sampled_from(REAL_FORM), st.text(max_size=60))
def test_spans_are_accounts_and_no_text_breaks_it(before: str, account: str, after: str) -> None:
    text = f"{before} {account} {after}"
    spans = list(account_spans(text))
    assert all(is_iban(text[start:end]) for start, end in spans)
    assert any(text[start:end].startswith(account[:4]) for start, end in spans)
    assert all(one <= two for (_, one), (two, _) in pairwise(spans))


def test_the_policy_says_so_once_for_each() -> None:
    text = "To DE89 3704 0044 0532 0130 00, or by 4111 1111 1111 1111"
    told = [(one.rule, text[one.start : one.end]) for one in check_policy(text, ())]
    assert told == [
        ("policy/personal-data", "DE89 3704 0044 0532 0130 00"),
        ("policy/personal-data", "4111 1111 1111 1111"),
    ]
