"""How often a discriminator's pictures are augmented: the control of p (ADA, NeurIPS 2020).

A discriminator that knows its pictures by heart says of nearly all of them that they are real. So
the mean sign of D(x) over real pictures is held at `target`: every `every` batches p grows where it
is above, and falls where it is below, by as much as takes it from 0 to 1 in `kimg` thousand
pictures.

    control = AugmentControl(target=0.6)
    control.seen(of_real)         # after each batch
    control.p
"""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from adwright.core.errors import ConfigError

__all__ = ["AugmentControl"]


class AugmentControl:
    """See the module. p: at the start.

    Raises ConfigError for a target outside of -1 to 1, a p outside of 0 to 1, and for an `every` or
    `kimg` that is not above 0.
    """

    def __init__(
        self, *, target: float = 0.6, every: int = 4, kimg: float = 500.0, p: float = 0.0
    ) -> None:
        if not -1 <= target <= 1:
            raise ConfigError(f"target is {target}", where="target", hint="take .6")
        if not 0 <= p <= 1:
            raise ConfigError(f"p is {p}", where="p", hint="take 0")
        if every < 1 or not kimg > 0:
            raise ConfigError(
                f"every is {every}, kimg {kimg}", where="every", hint="take 4 and 500"
            )
        self.target, self.every, self.kimg, self.p = target, every, kimg, p
        self._signs, self._pictures, self._batches = 0.0, 0, 0

    def seen(self, of_real: Tensor) -> None:
        """Take note of what the discriminator says [B] of real pictures, and move p where due."""
        self._signs += float(of_real.detach().sign().sum())
        self._pictures += len(of_real)
        self._batches += 1
        if self._batches < self.every:
            return
        difference = self._signs / self._pictures - self.target
        step = self._pictures / (1000 * self.kimg)
        self.p = min(1.0, max(0.0, self.p + step * ((difference > 0) - (difference < 0))))
        self._signs, self._pictures, self._batches = 0.0, 0, 0

    def state(self) -> dict[str, float]:
        """Plain values that a checkpoint keeps."""
        counted = {"signs": self._signs, "pictures": self._pictures, "batches": self._batches}
        return {"p": self.p, **counted}

    def load_state(self, state: Mapping[str, float]) -> None:
        """Take over what `state` returned; KeyError, TypeError or ValueError where it cannot."""
        self.p, self._signs = float(state["p"]), float(state["signs"])
        self._pictures, self._batches = int(state["pictures"]), int(state["batches"])
