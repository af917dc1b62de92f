"""Errors of scripts: their words, and that they survive a trip between processes."""

from __future__ import annotations

import copy

from adwright.agent.language.problems import ScriptError, ScriptProblem, quoted


def test_an_error_says_where_and_what_to_do() -> None:
    first = ScriptProblem("index", "there is no item 3", 2, 5, "test len(...)")
    error = ScriptError([first, ScriptProblem("value", "no number")])
    assert str(error) == ("there is no item 3 (and 1 more) [line 2, column 5] -> test len(...)")
    assert error.code == "index"
    assert error.problems[1].where == ""


def test_an_error_can_be_sent() -> None:
    error = ScriptError([ScriptProblem("index", "there is no item 3", 2, 5)])
    again = copy.deepcopy(error)  # goes the way of pickling
    assert (str(again), again.problems) == (str(error), error.problems)


def test_quoted_text_is_short_and_visible() -> None:
    assert quoted("a\u202eb\n") == "'a\\u202eb\\n'"
    assert len(quoted("x" * 1000)) < 70
