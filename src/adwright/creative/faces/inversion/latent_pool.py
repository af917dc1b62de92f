"""A pool of past latents, from which a discriminator of latents learns as well as from new ones.

    shown = pool.exchanged(w)       # [B, D]: of each either itself or an older one in its place

While the pool is not full a latent is kept and shown. After that it is shown with probability 1/2,
and else takes the place of one that was drawn, which is shown instead (Shrivastava et al., CVPR
2017; e4e has pools of 50 for real and for made latents).
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from adwright.core.errors import ConfigError

__all__ = ["LatentPool"]


class LatentPool(nn.Module):
    """See the module; its content is saved with the weights. size: latents; wide: D.

    Raises ConfigError for a size below 1.
    """

    kept: Tensor
    count: Tensor

    def __init__(self, size: int, wide: int) -> None:
        super().__init__()
        if size < 1:
            raise ConfigError(f"the size is {size}", where="size", hint="take 50")
        self.register_buffer("kept", torch.zeros(size, wide))
        self.register_buffer("count", torch.zeros((), dtype=torch.long))

    @torch.no_grad()
    def exchanged(self, latents: Tensor) -> Tensor:
        """[B, D] of latents [B, D], or of W+ [B, rows, D], of each of which one row is drawn.

        Draws from torch's own generator; the result has no gradient.
        """
        size = len(self.kept)
        if latents.dim() == 3:
            rows = torch.randint(latents.shape[1], (len(latents),))
            latents = latents[torch.arange(len(latents)), rows]
        shown = latents.detach().clone()
        for at, latent in enumerate(latents.detach()):
            full = int(self.count)
            if full < size:
                self.kept[full] = latent
                self.count += 1
            elif bool(torch.rand(()) < 0.5):
                which = int(torch.randint(size, ()))
                shown[at] = self.kept[which]
                self.kept[which] = latent
        return shown
