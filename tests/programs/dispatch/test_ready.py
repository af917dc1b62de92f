"""From chains of sessions to chains of the scheduler."""

from __future__ import annotations

from dataclasses import replace

from adwright.lm.engine.generation import GenerationConfig
from adwright.programs.deduction import Deduced
from adwright.programs.dispatch.ready import ChainReader, ProgramSeat, TokenCounts
from adwright.programs.graph import Chain
from adwright.programs.program import Objective, SemanticCall
from adwright.programs.runner import AskedChain
from adwright.programs.steps import ConstantText

SEAT = ProgramSeat("p", "shop", "shop", False, 7.0)


def words(text: str) -> int:
    return len(text.split())


def reader_of() -> ChainReader:
    return ChainReader(TokenCounts(words), model="small")


def asked_of(*segments: str, **further: object) -> AskedChain:
    call = SemanticCall("c", "t {{o:output}}", settings={"o": GenerationConfig(max_tokens=50)})
    call = replace(call, **further)  # type: ignore[arg-type]
    chain = Chain(call, "o", "o", (ConstantText("t"),), 0, 1)
    deduced = Deduced(Objective("ttft", 0.5), "edit.final", 3, 170)
    return AskedChain(chain, segments, deduced)


def test_a_chain_is_read_in_tokens_up_to_each_border() -> None:
    chain = reader_of().ready(asked_of("a b c", " ", "d e", "f"), SEAT, "c1")
    assert chain.prefix_tokens == (3, 5, 6), "a border behind no new token is none"
    assert len(set(chain.prefix)) == 3
    assert (chain.chain_id, chain.program_id, chain.tenant, chain.model) == (
        *("c1", "p", "shop", "small"),
    )
    assert (chain.group, chain.depth, chain.critical_tokens) == ("p/edit.final", 3, 170)
    assert (chain.objective, chain.arrived) == (Objective("ttft", 0.5), 7.0)
    assert chain.new_tokens == 50


def test_prompts_that_begin_alike_have_the_same_hashes_and_no_others_do() -> None:
    reader = reader_of()
    one = reader.ready(asked_of("rules", "a"), SEAT, "c1")
    other = reader.ready(asked_of("rules", "b"), replace(SEAT, program_id="q"), "c2")
    assert one.prefix[0] == other.prefix[0]
    assert one.prefix[1] != other.prefix[1]
    for seat, further in (
        (replace(SEAT, domain="other"), {}),
        (replace(SEAT, public=True), {}),
        (SEAT, {"model": "big"}),
        (SEAT, {"adapter": "house"}),
    ):
        apart = reader.ready(asked_of("rules", "a", **further), seat, "c3")
        assert not {*apart.prefix} & {*one.prefix}
    shared = [replace(SEAT, tenant=each, domain="all", public=True) for each in "ab"]
    first, second = (reader.ready(asked_of("rules"), each, "c") for each in shared)
    assert first.prefix == second.prefix


def test_a_prompt_without_a_token_is_one_of_its_own() -> None:
    reader = reader_of()
    one, other = (reader.ready(asked_of(""), SEAT, each) for each in ("c1", "c2"))
    assert one.prefix_tokens == (1,)
    assert one.prefix != other.prefix


def test_answers_are_expected_by_template_and_tenant() -> None:
    reader, asked = reader_of(), asked_of("a")
    reader.written(asked.chain, SEAT, 12)
    assert reader.ready(asked, SEAT, "c").new_tokens == 12
    assert reader.ready(asked, replace(SEAT, tenant="other"), "c").new_tokens == 50
    assert reader.expected(asked_of("a", template="u {{o:output}}").chain, SEAT) == 50


def test_the_text_up_to_a_border() -> None:
    reader, segments = reader_of(), ("a b c", " ", "d e", "", "f")
    found = [reader.beginning(segments, borders, SEAT) for borders in (1, 2, 3)]
    assert found == ["a b c", "a b c d e", "a b c d ef"]


def test_the_salt_names_nobody_and_is_that_of_the_domain() -> None:
    assert SEAT.salt == replace(SEAT, program_id="q", tenant="other").salt
    others = {replace(SEAT, domain="x").salt, replace(SEAT, public=True).salt, SEAT.salt}
    assert len(others) == 3
    assert "shop" not in SEAT.salt
