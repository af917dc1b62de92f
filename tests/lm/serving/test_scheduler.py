from __future__ import annotations

from itertools import count
from pathlib import Path

import pytest
from torch import Tensor

from adwright.core.errors import ConfigError, ResourceError, ValueInvalidError
from adwright.lm.engine.base import AnswerWriter
from adwright.lm.engine.generation import Cancellation, GenerationConfig
from adwright.lm.serving.adapter_cache import AdapterCache, BaseMaps, _Known
from adwright.lm.serving.prefixes import PagePool, PageShape
from adwright.lm.serving.scheduler import AnswerRow, Scheduler, ScoreRow, Turn
from adwright.tuning.reparameterised.lora import LoRA
from tests.support.lm.adapter_engine import saved_parts
from tests.support.lm.tiny_llama import tiny_llama, tiny_tokens

BASE = BaseMaps.of(tiny_llama())
#: Two pages each.
METHODS = {name: LoRA(rank=2, targets=("q_proj", "v_proj")) for name in ("one", "two", "three")}
_TOKENS = count(20)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return saved_parts(tmp_path_factory.mktemp("parts"), METHODS)


def scheduler_of(folders: dict[str, Path], pages: int, rows: int = 8) -> Scheduler:
    pool = PagePool(PageShape.of(BASE.sizes, 4), pages + 1)
    cache = AdapterCache(BASE, pool)
    for name, folder in folders.items():
        cache.add(name, folder)
    return Scheduler(pool, cache, rows)


def job(
    adapter: str | None,
    prompt: int,
    most: int = 8,
    cancel: Cancellation | None = None,
    token: int | None = None,
) -> AnswerRow:
    """token: that the prompt is made of; by default one that no other prompt has."""
    config = GenerationConfig(max_tokens=most)
    own = next(_TOKENS) if token is None else token
    answer = AnswerWriter(tiny_tokens(), [own] * prompt, config)
    return AnswerRow(adapter, answer, config, 0, prompt + most, vocabulary=400, cancel=cancel)


def run(scheduler: Scheduler, tokens: int = 100) -> list[Turn]:
    """A pass in which every row that can write writes the token 7."""
    turns = scheduler.turns(tokens)
    for one, new in turns:
        one.done += new
        if isinstance(one, AnswerRow) and not one.left:
            one.add(7, None)
    scheduler.settle()
    return turns


def test_rows_join_write_and_leave(folders: dict[str, Path]) -> None:
    scheduler = scheduler_of(folders, 100)
    first, second = job("one", 5, 3), job(None, 2, 2)
    scheduler.add(first)
    assert run(scheduler) == [(first, 5)]
    scheduler.add(second)
    assert run(scheduler) == [(first, 1), (second, 2)]
    assert not first.over
    # Rows without a part stand first.
    assert run(scheduler) == [(second, 1), (first, 1)]
    assert first.over
    assert second.over
    assert not scheduler.live
    assert scheduler._pool.used("keys") == 0
    assert run(scheduler) == []


def test_rows_of_one_part_stand_together(folders: dict[str, Path]) -> None:
    scheduler = scheduler_of(folders, 100)
    names = ["two", "one", None, "two", "three", "one"]
    for name in names:
        scheduler.add(job(name, 2))
    run(scheduler)
    found = [turn.row.adapter for turn in run(scheduler)]
    assert found == [None, "one", "one", "three", "two", "two"]


def test_prompts_in_pieces_and_nobody_new(folders: dict[str, Path]) -> None:
    scheduler = scheduler_of(folders, 100)
    first, second, third = job(None, 9), job("one", 3), job("two", 1)
    for one in (first, second, third):
        scheduler.add(one)
    assert run(scheduler, 4) == [(first, 4)]
    assert run(scheduler, 4) == [(first, 4)]
    assert run(scheduler, 4) == [(first, 1), (second, 3)]
    assert run(scheduler, 0) == [(first, 1), (second, 1)]
    assert list(scheduler.waiting) == [third]
    assert scheduler.uses("two")
    assert not scheduler.uses("three")


def test_the_last_that_came_gives_way_and_begins_again(folders: dict[str, Path]) -> None:
    # A page holds 4 tokens.
    scheduler = scheduler_of(folders, 5)
    first, second = job(None, 8, 12), job(None, 8, 12)
    scheduler.add(first)
    scheduler.add(second)
    assert len(run(scheduler)) == 2
    # The ninth token of the first takes the last page; for that of the second there is none.
    assert [turn.row for turn in run(scheduler)] == [first]
    assert scheduler.preemptions == 1
    assert (second.done, second.pages, second.left) == (0, [], 9)
    while not first.over:
        assert [turn.row for turn in run(scheduler)] == [first]
    assert run(scheduler) == [(second, 9)]
    while not second.over:
        run(scheduler)
    assert first.answer.usage.completion_tokens == 12
    assert second.answer.completion().token_ids == first.answer.completion().token_ids


def test_idle_parts_make_room_and_pinned_ones_do_not(folders: dict[str, Path]) -> None:
    scheduler = scheduler_of(folders, 4)
    first, second, third = job("one", 4, 4), job("two", 4, 1), job("three", 4, 1)
    for one in (first, second, third):
        scheduler.add(one)
    # The part and its keys take 3 pages: the next has to wait, and so do those behind it.
    assert [turn.row for turn in run(scheduler)] == [first]
    while not first.over:
        assert [turn.row for turn in run(scheduler)] == [first]
    assert [turn.row for turn in run(scheduler)] == [second]
    assert [turn.row for turn in run(scheduler)] == [third]
    counts = scheduler._cache.counts
    assert (counts.from_disk, counts.evictions) == (3, 2)


def test_no_more_rows_than_allowed(folders: dict[str, Path]) -> None:
    scheduler = scheduler_of(folders, 100, rows=2)
    for _ in range(3):
        scheduler.add(job(None, 2))
    run(scheduler)
    assert (len(scheduler.live), len(scheduler.waiting)) == (2, 1)


def test_cancelled_ones_free_what_they_have(folders: dict[str, Path]) -> None:
    scheduler = scheduler_of(folders, 100, rows=1)
    cancel, other = Cancellation(), Cancellation()
    live, waiting = job("one", 5, cancel=cancel), job("two", 5, cancel=other)
    scheduler.add(live)
    scheduler.add(waiting)
    run(scheduler)
    cancel.cancel()
    other.cancel()
    assert run(scheduler) == []
    assert live.answer.finish_reason == waiting.answer.finish_reason == "cancelled"
    assert scheduler._pool.used("keys") == 0
    assert scheduler._cache.state("one").pins == 0
    assert not scheduler.waiting


def test_what_can_never_fit_is_refused(folders: dict[str, Path]) -> None:
    scheduler = scheduler_of(folders, 5)
    scheduler.check(job("one", 4, 8))
    with pytest.raises(ValueInvalidError, match="needs 6 pages") as found:
        scheduler.check(job("one", 4, 9), index=3)
    assert found.value.row == 3
    with pytest.raises(ConfigError, match="no adapter of that name"):
        scheduler.check(job("four", 1))


def test_a_part_that_cannot_be_read_ends_its_request_alone(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    scheduler = scheduler_of(folders, 100)
    broken = saved_parts(tmp_path, {"broken": LoRA(rank=1)})["broken"]
    scheduler._cache.add("broken", broken)
    (broken / "manifest.json").write_text("{}", "utf-8")
    wrong, right = job("broken", 2), job("one", 2)
    scheduler.add(wrong)
    scheduler.add(right)
    assert [turn.row for turn in run(scheduler)] == [right]
    assert wrong.over
    assert wrong.error is not None


def test_a_fault_in_loading_ends_its_request_alone(
    folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    scheduler = scheduler_of(folders, 100)
    read = scheduler._cache._read

    def broken(known: _Known) -> Tensor:
        if known.folder == folders["two"]:
            raise OSError("the disk is gone")
        return read(known)

    monkeypatch.setattr(scheduler._cache, "_read", broken)
    wrong, right = job("two", 2), job("one", 2)
    scheduler.add(wrong)
    scheduler.add(right)
    assert [turn.row for turn in run(scheduler)] == [right]
    assert wrong.over
    assert isinstance(wrong.error, ResourceError)
    assert str(wrong.error).startswith("the adapter cannot be loaded: the disk is gone [two]")
    assert scheduler._cache.state("two").pins == 0


def test_what_is_over_does_not_fail(folders: dict[str, Path]) -> None:
    scheduler = scheduler_of(folders, 100)
    done, live, waiting = job(None, 2), job("one", 2), job(None, 2)
    scheduler.add(live)
    run(scheduler)
    scheduler.add(waiting)
    done.end("stop")
    scheduler.fail([done, live, waiting], error := ResourceError("full"))
    assert [one.error for one in (done, live, waiting)] == [None, error, error]
    assert not scheduler.live
    assert not scheduler.waiting
    assert scheduler._pool.used("keys") == 0


def test_pages_that_others_hold(folders: dict[str, Path]) -> None:
    scheduler = scheduler_of(folders, 4)
    scheduler._pool.allocate(4, "keys")
    lost = job(None, 2)
    scheduler.add(lost)
    assert run(scheduler) == []
    assert "held by others" in str(lost.error)


def test_scores_take_turns_too(folders: dict[str, Path]) -> None:
    scheduler = scheduler_of(folders, 100)
    scoring = ScoreRow("one", [1, 2], [3, 4, 5])
    scheduler.add(scoring)
    assert scheduler.turns(3) == [(scoring, 3)]
    assert scoring.tokens == [1, 2, 3, 4]
    assert not scoring.writes


def test_what_a_row_is_reading_is_waited_for_and_shared(folders: dict[str, Path]) -> None:
    scheduler = scheduler_of(folders, 100)
    rows = [job("one", 11, token=9) for _ in range(3)]
    other, base = job("one", 3), job(None, 11, token=9)
    for row in (*rows, other, base):
        scheduler.add(row)
    # Those behind go first; under another adapter the same tokens are others.
    assert run(scheduler, 6) == [(rows[0], 6)]
    assert run(scheduler) == [(rows[0], 5), (other, 3), (base, 11)]
    # Two blocks by reference, and two tokens of the third in a copy; the last is passed by each.
    turns = run(scheduler)
    assert turns[-2:] == [(rows[1], 1), (rows[2], 1)]
    for row in rows[1:]:
        assert row.pages[:2] == rows[0].pages[:2]
        assert row.pages[2] != rows[0].pages[2]
        assert row.answer.usage.cached_tokens == 10
    assert rows[0].answer.usage.cached_tokens == 0
    assert scheduler._prefixes.shared_tokens == 20
    while scheduler.live:
        run(scheduler)
    assert scheduler._pool.used("keys") == 0


def test_later_ones_find_what_was_read_and_written(folders: dict[str, Path]) -> None:
    scheduler = scheduler_of(folders, 100)
    first = job("one", 6, 8, token=9)
    scheduler.add(first)
    while not first.over:
        run(scheduler)
    # 6 of the prompt, 7 of the answer: its last token never passed.
    config = GenerationConfig(max_tokens=2)
    answer = AnswerWriter(tiny_tokens(), [9] * 6 + [7] * 9, config)
    second = AnswerRow("one", answer, config, 0, 20, vocabulary=400)
    scheduler.add(second)
    assert run(scheduler) == [(second, 2)]
    assert second.answer.usage.cached_tokens == 13
    scheduler._cache.remove("two")  # another's blocks stay
    assert scheduler._pool.used("keys") == len(second.pages)


def test_a_row_that_has_to_begin_again_finds_its_own_blocks(folders: dict[str, Path]) -> None:
    scheduler = scheduler_of(folders, 6)
    first, second = job(None, 8, 12), job(None, 8, 12)
    scheduler.add(first)
    scheduler.add(second)
    while not first.over:
        run(scheduler)
    assert scheduler.preemptions > 0
    while not second.over:
        run(scheduler)
    assert second.answer.completion().token_ids == first.answer.completion().token_ids
    assert second.answer.usage.cached_tokens == 0
    assert scheduler._pool.used("keys") == 0


def test_the_least_recently_used_goes_first_adapter_or_block(folders: dict[str, Path]) -> None:
    scheduler = scheduler_of(folders, 6)

    def ask(adapter: str | None, token: int) -> int:
        row = job(adapter, 5, 1, token=token)
        scheduler.add(row)
        run(scheduler)
        assert row.over
        return row.answer.usage.cached_tokens

    # Two pages of the adapter, and two of keys each.
    assert [ask("one", 9), ask(None, 10)] == [0, 0]
    # The oldest two are the blocks under the adapter, then the adapter.
    assert ask(None, 11) == 0
    assert scheduler._cache.state("one").tier == "pool"
    assert ask(None, 12) == 0
    assert scheduler._cache.state("one").tier == "host"
    assert [ask(None, 10), ask(None, 11)] == [4, 4]


def test_other_weights_in_the_folder_share_nothing(
    folders: dict[str, Path], tmp_path: Path
) -> None:
    cold = saved_parts(tmp_path, {"cold": LoRA(rank=2, targets=("q_proj", "v_proj"))})
    pool = PagePool(PageShape.of(BASE.sizes, 4), 100)
    cache = AdapterCache(BASE, pool, host_bytes=0)
    cache.add("cold", cold["cold"])
    scheduler = Scheduler(pool, cache, 8)
    for wanted in (0, 8, 8):
        row = job("cold", 9, 1, token=9)
        scheduler.add(row)
        run(scheduler)
        assert row.answer.usage.cached_tokens == wanted
        cache._evict("cold")
    for file in cold["cold"].rglob("*"):
        if file.is_file():
            other = folders["two"] / file.relative_to(cold["cold"])
            file.write_bytes(other.read_bytes())
    row = job("cold", 9, 1, token=9)
    scheduler.add(row)
    assert run(scheduler) == [(row, 9)]
    assert row.answer.usage.cached_tokens == 0


def test_a_score_reads_from_the_last_token_of_its_prompt_on(folders: dict[str, Path]) -> None:
    scheduler = scheduler_of(folders, 100)
    prompt = list(range(20, 31))
    rows = [ScoreRow("one", prompt, [3, label]) for label in (4, 5, 6)]
    for row in rows:
        scheduler.add(row)
    assert run(scheduler) == [(rows[0], 12)]
    rows[0].end("stop")
    assert run(scheduler) == [(rows[1], 2), (rows[2], 2)]
    assert [row.done for row in rows[1:]] == [12, 12]


def test_sixteen_rows_on_one_long_beginning_hold_its_pages_once(folders: dict[str, Path]) -> None:
    held = {}
    for shares in (True, False):
        scheduler = scheduler_of(folders, 7000, rows=16)
        rows = []
        for at in range(16):
            config = GenerationConfig(max_tokens=8)
            answer = AnswerWriter(tiny_tokens(), [9] * 1500 + [20 + at] * 20, config)
            rows.append(AnswerRow(None, answer, config, 0, 1528, vocabulary=400))
            rows[-1].shares = shares
            scheduler.add(rows[-1])
        most = 0
        while not all(row.over for row in rows):
            run(scheduler, 30_000)
            most = max(most, scheduler._pool.used("keys"))
        held[shares] = most
        assert scheduler._pool.used("keys") == 0
    assert held[False] == 16 * 382
    assert held[True] <= held[False] / 8


def test_who_shares_nothing_neither_takes_nor_gives(folders: dict[str, Path]) -> None:
    scheduler = scheduler_of(folders, 100)
    own = job(None, 11, 1, token=9)
    own.shares = False
    others = [job(None, 11, 1, token=9) for _ in range(2)]
    for row in (own, *others):
        scheduler.add(row)
    # The second one does not wait for the first.
    assert run(scheduler) == [(own, 11), (others[0], 11)]
    assert run(scheduler) == [(others[1], 1)]
    again = job(None, 11, 1, token=9)
    again.shares = False
    scheduler.add(again)
    assert run(scheduler) == [(again, 11)]
    assert again.answer.usage.cached_tokens == 0


def test_rows_of_two_salts_read_the_same_tokens_each(folders: dict[str, Path]) -> None:
    scheduler = scheduler_of(folders, 100)
    rows = [job("one", 11, 1, token=9) for _ in range(4)]
    for row, salt in zip(rows, ("a", "b", "a", "b"), strict=True):
        row.salt = salt
        scheduler.add(row)
    assert run(scheduler) == [(rows[0], 11), (rows[1], 11)]
    assert run(scheduler) == [(rows[2], 1), (rows[3], 1)]
    chain = scheduler.chain_of([9] * 11, "one", "a")
    assert scheduler._prefixes.find(chain, 11)
    scheduler._cache.remove("one")
    assert scheduler._pool.used("prefixes") == 0


def test_a_public_beginning_is_read_once_for_all_salts(folders: dict[str, Path]) -> None:
    scheduler = scheduler_of(folders, 100)
    scheduler.public += [(9,) * 5, (8,) * 20]
    rows = [job("one", 11, 1, token=9) for _ in range(3)]
    for row, salt in zip(rows, ("a", "b", "a"), strict=True):
        row.salt = salt
        scheduler.add(row)
        run(scheduler)
    # One block of four tokens is whole: of another salt that is found, of the same nearly all.
    cached = [row.answer.usage.cached_tokens for row in rows]
    assert cached == [0, 4, 10]


def test_keys_of_an_adapter_that_is_not_there(folders: dict[str, Path]) -> None:
    with pytest.raises(ConfigError, match="none"):
        scheduler_of(folders, 10).chain_of([1, 2], "none", "")


def test_a_row_begins_behind_blocks_that_come_back(folders: dict[str, Path]) -> None:
    pool = PagePool(PageShape.of(BASE.sizes, 4), 7)
    cache = AdapterCache(BASE, pool, prefix_bytes=8 * pool.page_bytes)
    scheduler = Scheduler(pool, cache, 8)

    def ask(token: int) -> int:
        row = job(None, 17, 1, token=token)
        scheduler.add(row)
        run(scheduler)
        assert row.over
        return row.answer.usage.cached_tokens

    assert [ask(9), ask(10), ask(9), ask(10), ask(10)] == [0, 0, 16, 16, 16]
    assert cache.prefixes.restored_tokens > 16
    assert cache.prefixes.host.bytes <= 8 * pool.page_bytes
