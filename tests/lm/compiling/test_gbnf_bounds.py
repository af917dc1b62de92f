from __future__ import annotations

import time
from contextlib import suppress

import pytest

from adwright.core.errors import ConfigError
from adwright.lm.compiling.bounds import ConstraintBounds, check_gbnf

SMALL = ConstraintBounds(
    parts=3, depth=3, chain=2, literal=10, repetition=20, expanded=100, states=30
)
ORDINARY = r"""
# an advertisement
root ::= "{" ws "\"text\":" ws string "}" ws
string ::= "\"" ([^"\\] | "\\" (["\\/bfnrt] | "u" [0-9a-fA-F]{4})){1,90} "\""
ws ::= [ \t\n]*
"""


def test_an_ordinary_one_passes() -> None:
    check_gbnf(ORDINARY, ConstraintBounds())


@pytest.mark.parametrize(
    ("grammar", "told"),
    [
        ("", "the grammar is empty"),
        (" \n", "the grammar is empty"),
        ("a ::= [a]\na ::= [b]", r"a rule stands twice in the grammar \[rule a\]"),
        ("".join(f"r{at} ::= [a]\n" for at in range(4)), "has 4 rules, at most 3"),
        ("root ::= ((([a])))", "has 4 levels of nesting, at most 3"),
        ("root ::= a\na ::= b\nb ::= [b]", "has 3 rules in a row, at most 2"),
        ('root ::= "' + "a" * 9 + '"', "has 11 characters in one string"),
        ("root ::= [" + "a" * 9 + "]", "has 11 characters in one string"),
        ("root ::= [a]{3,21}", "has 21 repetitions of one item, at most 20"),
        ("root ::= [a]{ 1 , " + "9" * 6000 + "}", "has 999999999 repetitions"),
        ('root ::= ("abc"{20}){2}', "has 101 symbols with all repetitions, at most 100"),
        ("root ::= ([a]{2}[b]){11}", "has 33 counted characters, at most 30"),
        ("root ::= ([a]{10}){4}", "has 40 counted characters"),
    ],
)
def test_each_bound(grammar: str, told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        check_gbnf(grammar, SMALL)


def test_what_is_quoted_or_a_comment_counts_once() -> None:
    check_gbnf('root ::= "((((" [(((] # (((( {999}\n', SMALL)
    check_gbnf('root ::= "\\"{99}" | "a"', SMALL)


@pytest.mark.parametrize("text", ['"\\"', "[\\[", "{ ", ") ", "a ", "# ", '"a" '])
def test_broken_ones_take_no_time(text: str) -> None:
    """What does not end would be read again from each of its characters."""
    began = time.monotonic()
    with suppress(ConfigError):
        check_gbnf("root ::= " + text * 60_000, ConstraintBounds())
    assert time.monotonic() - began < 20
