"""Trees that are printed and read again stay themselves."""

from __future__ import annotations

from decimal import Decimal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from adwright.agent.language.script import (
    KEYWORDS,
    Assignment,
    BinaryTerm,
    DecimalLiteral,
    Script,
    TextLiteral,
    UnaryTerm,
    VariableUse,
    WholeLiteral,
    print_script,
    quote_text,
    read_script,
)
from adwright.core.errors import ConfigError
from tests.support.agent.random_scripts import scripts

A, B = VariableUse("a"), VariableUse("b")


@settings(max_examples=200, deadline=None)
@given(st.integers(min_value=0, max_value=2**63))
def test_a_printed_script_reads_as_itself(seed: int) -> None:
    tree = scripts(seed)
    printed = print_script(tree)
    again = read_script(printed)
    assert again == tree
    assert print_script(again) == printed


@pytest.mark.parametrize(
    ("tree", "text"),
    [
        (UnaryTerm("-", WholeLiteral(3)), "-(3)"),
        (UnaryTerm("-", WholeLiteral(-3)), "--3"),
        (UnaryTerm("-", UnaryTerm("-", A)), "--a"),
        (UnaryTerm("-", BinaryTerm("+", A, B)), "-(a + b)"),
        (BinaryTerm("-", A, BinaryTerm("-", A, B)), "a - (a - b)"),
        (BinaryTerm("==", BinaryTerm("<", A, B), B), "(a < b) == b"),
        (BinaryTerm("and", BinaryTerm("or", A, B), B), "(a or b) and b"),
        (UnaryTerm("not", BinaryTerm("and", A, B)), "not (a and b)"),
        (BinaryTerm("==", UnaryTerm("not", A), B), "(not a) == b"),
        (DecimalLiteral(Decimal("5")), "5.0"),
        (DecimalLiteral(Decimal("1E+3")), "1000.0"),
        (TextLiteral('say "hi"\n'), '"say \\"hi\\"\\n"'),
    ],
)
def test_only_needed_brackets_are_written(tree: object, text: str) -> None:
    script = Script((Assignment("x", tree),))  # type: ignore[arg-type]
    assert print_script(script) == f"x = {text}\n"
    assert read_script(f"x = {text}") == script


def test_text_that_no_script_holds_is_refused() -> None:
    with pytest.raises(ConfigError, match="cannot hold"):
        quote_text("a\u202eb")


def test_names_are_no_keywords() -> None:
    assert "x" not in KEYWORDS
