"""Keys and values of a decoder in memory that has room for more.

The cache of transformers joins old and new by a copy of everything, in each layer, for each
token. Here a new token is written behind the others, and only when the room is used up is a larger
one made.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor
from transformers import DynamicCache
from transformers.cache_utils import DynamicLayer

_ROOM = 64


class GrowingLayer(DynamicLayer):  # type: ignore[no-untyped-call]
    """Keys and values [B, H, L, D] of one layer, views into tensors with room behind.

    What transformers does to a cache between two steps (rows are chosen, repeated, cut) it does to
    the views; the next token is then written into room made anew.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._room: tuple[Tensor, Tensor] | None = None

    def _add(
        self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any
    ) -> tuple[Tensor, Tensor]:
        """Add keys and values [B, H, new, D]; returns those of all L tokens."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
            # Nothing is copied for a prompt that is only scored.
            self.keys, self.values = key_states, value_states
            return key_states, value_states
        old_keys, old_values = self.keys, self.values
        if old_keys is None or old_values is None:
            raise RuntimeError("a layer of the cache was emptied between two tokens")
        past, new = old_keys.shape[-2], key_states.shape[-2]
        if self._room is None or not _fits(self._room[0], old_keys, past + new):
            self._room = (_larger(old_keys, new), _larger(old_values, new))
        keys, values = self._room
        keys[..., past : past + new, :] = key_states
        values[..., past : past + new, :] = value_states
        self.keys, self.values = keys[..., : past + new, :], values[..., : past + new, :]
        return self.keys, self.values

    #: As transformers calls it, with further arguments that only other kinds of layers read.
    update = _add


def growing_cache(config: Any) -> DynamicCache:
    """An empty cache for a model of this text config; layers of other kinds, such as those with a
    window, stay those of transformers."""
    cache = DynamicCache(config=config)
    cache.layers = [
        GrowingLayer() if type(layer) is DynamicLayer else layer for layer in cache.layers
    ]
    return cache


def _fits(room: Tensor, used: Tensor, length: int) -> bool:
    """Whether `used` is still a view into `room`, and there is place for so many tokens."""
    same = room.untyped_storage().data_ptr() == used.untyped_storage().data_ptr()
    return same and room.shape[0] == used.shape[0] and length <= room.shape[-2]


def _larger(used: Tensor, new: int) -> Tensor:
    """A copy of `used` [B, H, L, D] with room for `new` tokens and some more."""
    B, H, L, D = used.shape
    room = used.new_empty(B, H, L + new + max(_ROOM, L // 4), D)
    room[..., :L, :] = used
    return room
