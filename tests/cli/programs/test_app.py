"""adwright programs."""

from __future__ import annotations

from tests.support.service.program_server import run


def test_the_verbs_explain_themselves() -> None:
    told = run("--help").output
    assert all(verb in told for verb in ("serve", "run", "explain", "creative-team"))
    for verb, words in (
        ("serve", ("/v1/programs/ID/trace", "--key-file", "--engines")),
        ("run", ("--value", "--url", "--dry-run")),
        ("explain", ("--svg", "--html", "group")),
    ):
        told = run(verb, "--help").output
        assert all(word in told for word in words)
