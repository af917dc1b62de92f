from __future__ import annotations

import torch

from adwright.lm.serving.prefixes import HostPages

PAGE = torch.arange(6.0).view(2, 3)
BYTES = 24


def test_bounded_by_bytes_and_the_oldest_goes_first() -> None:
    pages = HostPages(3 * BYTES)
    for at in range(4):
        pages.put(bytes([at]), b"", PAGE + at)
    assert (len(pages), pages.bytes, b"\0" in pages) == (3, 3 * BYTES, False)
    pages.put(b"\1", b"", PAGE)  # used again
    pages.put(b"\5", b"", PAGE)
    assert [bytes([at]) in pages for at in range(6)] == [False, True, False, True, False, True]


def test_what_is_kept_is_a_copy_bit_by_bit() -> None:
    pages, page = HostPages(BYTES), PAGE.clone()
    page[0, 0] = -0.0
    pages.put(b"a", b"", page)
    wanted = page.clone()
    page.zero_()
    looked, found = pages.look(b"a"), pages.take(b"a")
    assert looked is found
    assert found is not None
    assert torch.equal(found.view(torch.int32), wanted.view(torch.int32))
    assert (pages.take(b"a"), pages.look(b"a"), pages.bytes) == (None, None, 0)


def test_nothing_is_kept_without_room() -> None:
    for most in (0, BYTES - 1):
        pages = HostPages(most)
        pages.put(b"a", b"", PAGE)
        assert (len(pages), pages.bytes) == (0, 0)


def test_what_belongs_to_an_adapter_that_is_gone() -> None:
    pages = HostPages(9 * BYTES)
    pages.put(b"a", b"one", PAGE)
    pages.put(b"b", b"two", PAGE)
    pages.drop(b"one")
    assert (b"a" in pages, b"b" in pages, pages.bytes) == (False, True, BYTES)


def test_what_is_asked_for_goes_last() -> None:
    pages = HostPages(3 * BYTES)
    for key in (b"a", b"b", b"c"):
        pages.put(key, b"", PAGE)
    pages.touch(iter((b"a", b"x", b"b")))
    pages.put(b"d", b"", PAGE)
    assert [key in pages for key in (b"a", b"b", b"c", b"d")] == [True, False, True, True]
