"""An encoder whose image embedding is the code of a variational autoencoder."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from dreamer_plugin.nets.codec import Encoder
from dreamer_plugin.nets.layers import MLP
from dreamer_plugin.nets.vision import MapEncoder
from dreamer_plugin.ops.continuous import Normal
from dreamer_plugin.ops.divergence import normal_kl
from dreamer_plugin.spaces import ObsKey


class VAEEncoder(Encoder):
    """Images become a normal, of which one draw is embedded; vectors are embedded as they are.

        encoded   [vectors, mean, log variance]        the last not where the deviation is fixed
        embedding [vectors, mean + deviation * normal noise]

    Its loss pulls the normals to the standard one; what the draws must tell is for the decoder of
    the world model to say. Source of mean and log variance: Kingma and Welling, arXiv:1312.6114.

    Args:
        keys, vector, symlog_vectors, symlog_images: as of `Encoder`.
        image: its vector has `code_size(dim, std)` numbers.
        dim: of the code. std: fixed standard deviation; 0 learns it.
    """

    def __init__(
        self,
        keys: Sequence[ObsKey],
        vector: MLP | None,
        image: MapEncoder,
        symlog_vectors: bool,
        symlog_images: bool,
        dim: int,
        std: float = 0.0,
    ) -> None:
        super().__init__(keys, vector, image, symlog_vectors, symlog_images)
        self.dim, self.std = dim, std
        self.noise_size = dim
        self.out_features += dim - image.out_features

    def draw(self, encoded: Tensor, noise: Tensor | None = None) -> Tensor:
        """See `Encoder.draw`: a sample of the code, or its mean."""
        vectors, code = self._code(encoded)
        drawn = code.mode() if noise is None else code.sample(noise)
        return torch.cat([vectors, drawn.to(vectors.dtype)], -1)

    def losses(self, encoded: Tensor) -> dict[str, Tensor]:
        """See `Encoder.losses`: `vae`, the code's divergence."""
        return {"vae": self.kl(encoded)}

    def kl(self, encoded: Tensor) -> Tensor:
        """`KL(code || standard normal)` in nats, `[*batch, P] -> [*batch]`, dimensions summed."""
        _, code = self._code(encoded)
        zeros = torch.zeros_like(code.mean)
        return normal_kl(code.mean, code.std, zeros, zeros + 1).sum(-1)

    def _code(self, encoded: Tensor) -> tuple[Tensor, Normal]:
        """The part that is no code, `[*batch, E - dim]`, and the code."""
        of_image = code_size(self.dim, self.std)
        vectors, code = encoded.split([encoded.shape[-1] - of_image, of_image], -1)
        mean = code[..., : self.dim].float()
        if self.std:
            return vectors, Normal(mean, torch.full_like(mean, self.std))
        return vectors, Normal(mean, torch.exp(0.5 * code[..., self.dim :].float()))


def code_size(dim: int, std: float) -> int:
    """Numbers that the image encoder puts out for a code."""
    return dim if std else 2 * dim
