"""What is held stays longest, and what is saved is there again bit by bit."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import torch

from adwright.core.errors import ArtifactError
from adwright.lm.serving.prefixes import (
    BlockKeys,
    HostPages,
    PagePool,
    PageShape,
    PrefixPages,
    PrefixStore,
)

T = 4
SHAPE = PageShape(layers=2, heads=1, width=3, block=T)


def chain(tokens: Sequence[int], adapter: str | None = None, salt: str = "") -> BlockKeys:
    return BlockKeys((adapter or "").encode(), list(tokens), T, salt=salt)


class Held:
    """A pool of so many pages, and rows that read and go."""

    def __init__(
        self,
        pages: int = 6,
        *,
        identity: str = "base",
        host: int = 0,
        dtype: torch.dtype | None = None,
    ) -> None:
        self.pool = PagePool(SHAPE, pages + 1, dtype or torch.float32)
        self.pages = PrefixPages(self.pool, host=HostPages(host * self.pool.page_bytes))
        self.store = PrefixStore(
            self.pool,
            self.pages,
            room=self.room,
            identity=lambda name: f"{identity} {name}",
            chain=chain,
        )

    def room(self, pages: int) -> bool:
        if self.pool.free + self.pages.idle < pages:
            return False
        while self.pool.free < pages:
            self.pages.evict()
        return True

    def read(self, tokens: Sequence[int], salt: str = "") -> None:
        own = chain(tokens, salt=salt)
        shared = self.pages.find(own, len(tokens))
        self.pages.hold(shared)
        needed = SHAPE.blocks(len(tokens)) - len(shared)
        assert self.room(needed)
        new = self.pool.allocate(needed, "keys") or []
        self.pages.hold(new)
        back = self.pages.restore(own, len(shared), len(tokens), new)
        for page in new[back:]:
            self.pool.tensor[page].normal_()
        pages = [*shared, *new]
        self.pages.keep(own, pages, len(shared), len(tokens), last=True)
        self.pages.give_up(pages)

    def found(self, tokens: Sequence[int], salt: str = "") -> int:
        return len(self.pages.find(chain(tokens, salt=salt), len(tokens)))


def test_what_is_held_goes_last() -> None:
    held = Held()
    rules = range(10)
    held.read(rules)
    assert held.pages.kept == 0
    keys = held.store.hold(rules)
    for at in (20, 40, 60):
        held.read(range(at, at + 12))
    assert (held.found(rules), held.pages.kept) == (2, 2)
    held.store.let_go(keys)
    assert held.pages.kept == 0
    held.read(range(80, 92))
    assert held.found(rules) < 2


def test_it_may_be_held_before_it_is_read_and_twice() -> None:
    held = Held()
    rules = range(8)
    once, twice = held.store.hold(rules), held.store.hold(rules)
    held.read(rules)
    held.store.let_go(once)
    for at in (20, 40, 60):
        held.read(range(at, at + 12))
    assert held.found(rules) == 2
    held.store.let_go(twice)
    held.read(range(80, 92))
    assert held.found(rules) < 2


def test_what_is_held_goes_where_nothing_else_can() -> None:
    held = Held()
    for at in (0, 20):
        held.store.hold(range(at, at + 12))
        held.read(range(at, at + 12))
    held.read(range(40, 60))
    assert held.found(range(40, 60)) == 5
    assert held.found(range(12)) + held.found(range(20, 32)) == 1


def test_blocks_that_had_to_go_come_back_bit_by_bit() -> None:
    held = Held(host=8)
    rules = list(range(12))
    held.read(rules)
    before = held.pages.copied(chain(rules), 12)
    assert before.shape == (3, 2, SHAPE.slice)
    for at in (20, 40):
        held.read(range(at, at + 12))
    assert held.found(rules) == 0
    # Wherever the blocks are, they are those.
    assert torch.equal(held.pages.copied(chain(rules), 12), before)
    assert (len(held.pages.host), held.pages.host.bytes) == (3, 3 * held.pool.page_bytes)
    held.read([*rules, 90])
    assert held.pages.restored_tokens == 12
    assert held.found(rules) == 3
    assert torch.equal(held.pages.copied(chain(rules), 12), before)
    assert not any(chain(rules).key(at) in held.pages.host for at in (1, 2, 3))


def test_what_host_memory_has_no_room_for_is_read_again() -> None:
    held = Held(host=4)
    held.read(range(12))
    for at in (20, 40, 60):
        held.read(range(at, at + 12))
    # Three blocks, of which two had to go for those that went later; the first was asked for last.
    held.read(range(12))
    assert held.pages.restored_tokens == 4
    assert held.pages.host.bytes <= 4 * held.pool.page_bytes


def test_saved_and_taken_back(tmp_path: Path) -> None:
    one, two = Held(), Held()
    rules = list(range(14))
    assert one.store.save(tmp_path / "a", rules, salt="s") == 0
    assert not (tmp_path / "a").exists()
    one.read(rules, salt="s")
    assert one.store.save(tmp_path / "a", rules, salt="s") == 12
    for _ in range(2):  # what is there stays
        assert two.store.restore(tmp_path / "a") == 12
        assert (two.found(rules, "s"), two.found(rules), two.pages.idle) == (3, 0, 3)
    wanted = one.pages.copied(chain(rules, salt="s"), 14)
    assert torch.equal(two.pages.copied(chain(rules, salt="s"), 14), wanted)
    assert Held(2).store.restore(tmp_path / "a") == 8


def test_what_belongs_to_another_is_refused(tmp_path: Path) -> None:
    one = Held()
    one.read(range(8))
    one.store.save(tmp_path / "a", range(8))
    with pytest.raises(ArtifactError, match="another model"):
        Held(identity="other").store.restore(tmp_path / "a")
    with pytest.raises(ArtifactError, match="another form"):
        Held(dtype=torch.bfloat16).store.restore(tmp_path / "a")
    one.pool.tensor[:] = torch.nan
    one.store.save(tmp_path / "a", range(8))
    with pytest.raises(ArtifactError, match="another form"):
        Held().store.restore(tmp_path / "a")
