"""The bounds of one served base, and what its engine reports."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from adwright.core.config import Count, Natural, settings
from adwright.lm.serving.adapter_cache import CacheCounts
from adwright.lm.serving.adapter_folding import MergePolicy

Drive = Literal["callers", "thread", "outside"]


@settings
class ServingConfig:
    """Bounds of one served base.

    pool_bytes: the pool of pages, for adapters in use, keys and values. host_bytes: for adapters
    evicted from it. block: tokens per page. rows: requests per batch. prompt_tokens: the most
    tokens of prompts per pass. drive: who computes, see the module. merge: fold an adapter that
    most requests ask for, by this policy; `adapter_folding` says what it costs. share_prefixes:
    keep keys and values of what was read, for requests that begin in the same way, see
    `prefix_pages`; they have the room that nothing else needs. prefix_bytes: for those of them that
    have to leave the pool, see `host_pages`. Beside these bounds, a pass takes
    copies of one layer's matrices and keys, and activations, while it runs.

    Raises ConfigError that names the setting.
    """

    pool_bytes: Count = 512 << 20
    host_bytes: Natural = 256 << 20
    block: Count = 16
    rows: Count = 32
    prompt_tokens: Count = 256
    drive: Drive = "callers"
    merge: MergePolicy | None = None
    share_prefixes: bool = True
    prefix_bytes: Natural = 0


@dataclass(frozen=True)
class PassResult:
    """What one pass did; false where there was nothing to do.

    written: tokens of answers. prompted: tokens of prompts. live: rows in the batch. waiting:
    requests in the queue.
    """

    written: int
    prompted: int
    live: int
    waiting: int

    def __bool__(self) -> bool:
        return bool(self.written or self.prompted)


@dataclass(frozen=True)
class PoolState:
    """How full the pool is.

    pages: those that can be given out. adapters, keys: pages in use by them. prefixes: pages of
    keys that no request reads, but later ones may. shared_tokens: tokens that requests did not have
    to read because of such pages, and of those that others read; restored_tokens: of these, those
    that came back from host memory, where prefix_bytes lie now; held: those pages of prefixes that
    somebody wants kept. bytes: of all pages. host_bytes: of adapters in host memory. preemptions:
    rows that had to begin again. counts: of the cache. merged: the folded adapter; merges: folds so
    far; merged_bytes: of folded weights.
    """

    pages: int
    adapters: int
    keys: int
    bytes: int
    host_bytes: int
    preemptions: int
    counts: CacheCounts
    merged: str | None = None
    merges: int = 0
    merged_bytes: int = 0
    prefixes: int = 0
    shared_tokens: int = 0
    restored_tokens: int = 0
    prefix_bytes: int = 0
    held: int = 0
