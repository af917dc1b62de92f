from __future__ import annotations

from adwright.authoring.writer.drafts import TextState


def test_the_last_decision_that_stands_says_what_a_text_is() -> None:
    state = TextState(("p", "headline", 0))
    state.drafted((0, 10), ["p", "headline", 0, "i", 1, 2, "x"])
    assert (state.status, state.decision_place, state.draft_place) == ("unreviewed", None, (0, 10))
    assert (state.inputs, state.errors, state.warnings, state.product_hash) == ("i", 1, 2, "x")
    state.decided((10, 5), "approve")
    state.decided((15, 5), "reject")
    assert (state.status, state.decision_place, state.version) == ("rejected", (15, 5), 15)
    state.undone((20, 5))
    assert (state.status, state.decision_place, state.version) == ("approved", (10, 5), 20)
    state.drafted((25, 10), ["p", "headline", 0, "j", 0, 0, "x"])
    assert (state.status, state.rounds, state.version) == ("unreviewed", 2, 25)
