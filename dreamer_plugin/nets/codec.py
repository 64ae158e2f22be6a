"""Dictionaries of observations to one vector, and back.

Images of one size are concatenated on channels; vectors and discrete observations on features. The
encoder takes keys in alphabetical order; the decoder splits image channels in the order of the
observation space. Source: `dreamerv3/rssm.py`, Encoder and Decoder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from dreamer_plugin.errors import UsageError, choose
from dreamer_plugin.nets.layers import MLP, Linear
from dreamer_plugin.nets.vision import MapDecoder, MapEncoder
from dreamer_plugin.ops.distributions import MAE, MSE, DiscreteTarget, Output, UnitNormal
from dreamer_plugin.ops.scaling import symexp, symlog
from dreamer_plugin.spaces import ObsKey

_OUTPUTS: dict[str, type[MSE]] = {"mse": MSE, "mae": MAE, "normal": UnitNormal}


def flat_size(key: ObsKey) -> int:
    """Features a vector or discrete observation has once flattened (one-hot where discrete)."""
    size = 1
    for n in key.shape:
        size *= n
    return size * (key.classes if key.kind == "discrete" else 1)


def image_layout(keys: Sequence[ObsKey]) -> tuple[tuple[int, int], int]:
    """Common `(H, W)` and total channels of image keys; an error names the one that differs."""
    size = keys[0].shape[:2]
    for key in keys:
        if key.shape[:2] != size:
            raise UsageError(
                f"image {key.name!r} is {key.shape[0]}x{key.shape[1]} but {keys[0].name!r} is "
                f"{size[0]}x{size[1]}: all images must have one size; set env.size, "
                "or resize them in your own env"
            )
    return (size[0], size[1]), sum(key.shape[2] for key in keys)


class Encoder(nn.Module):
    """Observation dictionary to one embedding; stateless.

    Args:
        keys: what is encoded. vector: builds the MLP from a number of features.
        image: builds the image encoder from size and channels.
        symlog_vectors: squash continuous vectors first. symlog_images: images too, as 0 to 1.

    Attributes:
        out_features: length of the embedding E.
        noise_size: uniform numbers that a drawn embedding takes; none is drawn here.
    """

    noise_size = 0

    def __init__(
        self,
        keys: Sequence[ObsKey],
        vector: MLP | None,
        image: MapEncoder | None,
        symlog_vectors: bool = True,
        symlog_images: bool = False,
    ) -> None:
        super().__init__()
        ordered = sorted(keys, key=lambda k: k.name)
        self.images = [k for k in ordered if k.kind == "image"]
        self.vectors = [k for k in ordered if k.kind != "image"]
        self.mlp = vector
        self.cnn = image
        self.symlog_vectors, self.symlog_images = symlog_vectors, symlog_images
        self.out_features = sum(net.out_features for net in (vector, image) if net is not None)

    def forward(self, obs: Mapping[str, Tensor]) -> Tensor:
        """`{name: [*batch, *shape]} -> [*batch, E]`."""
        return self.draw(self.encode(obs))

    def draw(self, encoded: Tensor, noise: Tensor | None = None) -> Tensor:
        """Embeddings `[*batch, E]` of what `encode` gave; here the very same.

        Args:
            encoded: `[*batch, P]`. noise: `[*batch, noise_size]` uniform in [0, 1); without it the
                likeliest embedding.
        """
        return encoded

    def losses(self, encoded: Tensor) -> dict[str, Tensor]:
        """What the encoder itself is trained on, each `[*batch]`; nothing here.

        Args:
            encoded: `[*batch, P]` from `encode`, of an encoder that draws its embeddings.
        """
        return {}

    def encode(self, obs: Mapping[str, Tensor]) -> Tensor:
        """All that the networks make of the observations, `[*batch, P]`; here `P = E`."""
        parts = []
        if self.mlp is not None:
            flat = [self._flat(key, obs[key.name]) for key in self.vectors]
            parts.append(self.mlp(torch.cat(flat, -1)))
        if self.cnn is not None:
            image = torch.cat([obs[key.name] for key in self.images], -1)
            batch = image.shape[:-3]
            scaled = image.flatten(0, -4).float() / 255
            scaled = symlog(scaled) if self.symlog_images else scaled
            parts.append(self.cnn(scaled).unflatten(0, batch))
        return torch.cat(parts, -1)

    def _flat(self, key: ObsKey, value: Tensor) -> Tensor:
        if key.kind == "discrete":
            value = F.one_hot(value.long(), key.classes).float()
        else:
            value = symlog(value.float()) if self.symlog_vectors else value.float()
        event = len(key.shape) + (key.kind == "discrete")
        return value.flatten(-event) if event else value.unsqueeze(-1)


class VectorDecoder(nn.Module):
    """MLP with one linear layer per vector or discrete key.

    Args:
        keys: what is decoded. mlp: `[..., S*K + D] -> [..., U]`.
        symlog_target: vectors are compared with the symlog of what was seen.
        output: of vectors, `"mse"`, `"normal"` (half of it) or `"mae"`, the absolute error.
    """

    def __init__(
        self, keys: Sequence[ObsKey], mlp: MLP, symlog_target: bool, output: str = "mse"
    ) -> None:
        super().__init__()
        self.keys = list(keys)
        self.mlp = mlp
        # A list, not a dictionary: a module name may not hold a dot, an observation's name may.
        self.heads = nn.ModuleList(
            Linear(mlp.out_features, flat_size(key), fan=mlp.style.fan) for key in keys
        )
        self.symlog_target = symlog_target
        self.kind = choose(_OUTPUTS, output, "world.decoder.output")

    def forward(self, x: Tensor) -> dict[str, Output]:
        """`[..., S*K + D] ->` one output per key over `[...]`."""
        x = self.mlp(x)
        heads = zip(self.keys, self.heads, strict=True)
        return {key.name: self._output(key, head(x)) for key, head in heads}

    def _output(self, key: ObsKey, flat: Tensor) -> Output:
        if key.kind == "discrete":
            return DiscreteTarget(flat.unflatten(-1, (*key.shape, key.classes)), len(key.shape))
        mean = flat.unflatten(-1, key.shape) if key.shape else flat.squeeze(-1)
        return self.kind(mean, len(key.shape), self.symlog_target)


class ImageOutput:
    """Predicted images `[..., H, W, C]`, compared with uint8 ones over 255, summed over pixels.

    Args:
        mean: the images, or their symlog. kind: of the error. squashed: which of the two.
    """

    def __init__(self, mean: Tensor, kind: type[MSE] = MSE, squashed: bool = False) -> None:
        self.scaled, self.squashed = kind(mean, 3, squashed), squashed

    def pred(self) -> Tensor:
        """The images, black 0 and white 1."""
        return symexp(self.scaled.pred()) if self.squashed else self.scaled.pred()

    def loss(self, target: Tensor) -> Tensor:
        """Error `[...]` against `target / 255`, or the symlog of it."""
        return self.scaled.loss(target.float() / 255)


class Decoder(nn.Module):
    """Model state to one `Output` per observation key.

    Args:
        keys: what is decoded, in the order of the observation space.
        vector: MLP and heads on `[stoch, deter]`. image: image decoder.
        output: of images, as of vectors in `VectorDecoder`. symlog_images: what is decoded is their
            symlog.
    """

    def __init__(
        self,
        keys: Sequence[ObsKey],
        vector: VectorDecoder | None,
        image: MapDecoder | None,
        output: str = "mse",
        symlog_images: bool = False,
    ) -> None:
        super().__init__()
        self.symlog_images = symlog_images
        self.images = [k for k in keys if k.kind == "image"]
        self.vector = vector
        self.image = image
        self.image_kind = choose(_OUTPUTS, output, "world.decoder.output")

    def forward(self, deter: Tensor, stoch: Tensor) -> dict[str, Output]:
        """`[*batch, D], [*batch, S*K] ->` outputs over `[*batch]`. Vectors see [stoch, deter]."""
        outputs: dict[str, Output] = {}
        if self.vector is not None:
            outputs |= self.vector(torch.cat([stoch, deter], -1))
        if self.image is not None:
            batch = deter.shape[:-1]
            image = self.image(deter.flatten(0, -2), stoch.flatten(0, -2)).unflatten(0, batch)
            channels = [key.shape[2] for key in self.images]
            for key, part in zip(self.images, image.split(channels, -1), strict=True):
                outputs[key.name] = ImageOutput(part, self.image_kind, self.symlog_images)
        return outputs
