"""Dictionaries of observations: order of keys, kinds, and errors."""

from __future__ import annotations

import math

import pytest
import torch

from dreamer_plugin.nets.codec import (
    Decoder,
    Encoder,
    VectorDecoder,
    flat_size,
    image_layout,
)
from dreamer_plugin.nets.layers import MLP
from dreamer_plugin.nets.vision import ImageDecoder, ImageEncoder
from dreamer_plugin.ops.distributions import MSE
from dreamer_plugin.spaces import ObsKey

POSE = ObsKey("pose", "vector", (2, 3))
HEIGHT = ObsKey("height", "vector", ())
TILES = ObsKey("tiles", "discrete", (2,), 3)
FRONT = ObsKey("front", "image", (8, 8, 3))
BACK = ObsKey("back", "image", (8, 8, 1))


def test_flat_sizes() -> None:
    assert [flat_size(key) for key in (POSE, HEIGHT, TILES)] == [6, 1, 6]


def test_vectors_enter_sorted_squashed_and_one_hot() -> None:
    encoder = Encoder([TILES, POSE, HEIGHT], MLP(13, 0, 1), None)
    obs = {
        "tiles": torch.tensor([[0, 2]]),
        "height": torch.tensor([math.e - 1]),
        "pose": torch.full((1, 2, 3), 1 - math.e),
    }
    assert encoder(obs)[0].tolist() == pytest.approx([1.0] + [-1.0] * 6 + [1, 0, 0, 0, 0, 1])


def test_vectors_enter_raw_if_told_so() -> None:
    encoder = Encoder([HEIGHT], MLP(1, 0, 1), None, symlog_vectors=False)
    assert encoder({"height": torch.tensor([5.0])})[0].tolist() == [5.0]


def test_batch_axes_are_kept() -> None:
    encoder = Encoder([HEIGHT, FRONT], MLP(1, 1, 4), ImageEncoder((8, 8), 3, [2]))
    obs = {
        "height": torch.randn(2, 5),
        "front": torch.randint(0, 256, (2, 5, 8, 8, 3), dtype=torch.uint8),
    }
    assert encoder(obs).shape == (2, 5, encoder.out_features) == (2, 5, 4 + 4 * 4 * 2)


def test_images_are_split_in_the_order_of_the_space() -> None:
    image = ImageDecoder(4, 4, (8, 8), 4, [4], 3, blocks=2)
    decoder = Decoder([FRONT, BACK], None, image)
    deter, stoch = torch.randn(2, 4), torch.randn(2, 4)
    whole, outputs = image(deter, stoch), decoder(deter, stoch)
    assert torch.equal(outputs["front"].pred(), whole[..., :3])
    assert torch.equal(outputs["back"].pred(), whole[..., 3:])


def test_image_loss_sums_squares_of_pixels_over_255() -> None:
    image = ImageDecoder(4, 4, (8, 8), 1, [4], 3, blocks=2)
    out = Decoder([BACK], None, image)(torch.randn(2, 4), torch.randn(2, 4))["back"]
    target = torch.full((2, 8, 8, 1), 51, dtype=torch.uint8)
    expected = ((out.pred() - 0.2) ** 2).sum((1, 2, 3))
    assert torch.allclose(out.loss(target), expected)


def test_vector_decoder_sees_the_stochastic_state_first() -> None:
    net = VectorDecoder([HEIGHT], MLP(5, 0, 1), symlog_target=True)
    weight = net.heads[0].weight.data
    weight.zero_()[0, 0] = 1.0
    deter, stoch = torch.full((1, 3), 7.0), torch.tensor([[2.0, 0.0]])
    out = Decoder([HEIGHT], net, None)(deter, stoch)["height"]
    assert out.pred().tolist() == [2.0]
    assert out.loss(torch.tensor([math.e**2 - 1])).item() == pytest.approx(0.0, abs=1e-9)


def test_the_output_of_images_and_vectors_is_chosen() -> None:
    """A normal of variance 1 pays half the squared error; classes stay classes."""
    torch.manual_seed(0)
    vector = VectorDecoder([POSE, TILES], MLP(8, 0, 1), True, "normal")
    image = ImageDecoder(4, 4, (8, 8), 1, [4], 3, blocks=2)
    keys, states = [POSE, TILES, BACK], (torch.randn(2, 4), torch.randn(2, 4))
    normal = Decoder(keys, vector, image, "normal")(*states)
    vector.kind = MSE
    squared = Decoder(keys, vector, image)(*states)
    targets = {
        "pose": torch.randn(2, 2, 3),
        "tiles": torch.tensor([[0, 2], [1, 1]]),
        "back": torch.randint(0, 256, (2, 8, 8, 1), dtype=torch.uint8),
    }
    for name, share in {"pose": 0.5, "tiles": 1.0, "back": 0.5}.items():
        assert torch.equal(normal[name].pred(), squared[name].pred())
        loss = squared[name].loss(targets[name])
        assert loss.all() and torch.equal(normal[name].loss(targets[name]), share * loss)


def test_an_unknown_output_is_named() -> None:
    with pytest.raises(ValueError, match=r"world.decoder.output 'gauss'.*Valid: mse, mae, normal"):
        Decoder([BACK], None, None, "gauss")
    with pytest.raises(ValueError, match=r"world.decoder.output 'norm'.*mean 'normal'"):
        VectorDecoder([POSE], MLP(8, 0, 1), True, "norm")


def test_images_of_two_sizes_are_an_error_that_names_them() -> None:
    with pytest.raises(ValueError, match="image 'wide' is 8x16 but 'front' is 8x8"):
        image_layout([FRONT, ObsKey("wide", "image", (8, 16, 3))])
