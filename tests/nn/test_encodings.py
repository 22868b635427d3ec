"""Positional encoding."""

import torch

from foreseen.nn.encodings import PositionalEncoding


def test_layout_and_width() -> None:
    """x first, then sine and cosine of x, 2x, 4x; no factor pi."""
    x = torch.tensor([[0.3, -1.2]])
    encode = PositionalEncoding(levels=3, dims=2)
    expected = torch.cat([x, *(g(2**k * x) for k in range(3) for g in (torch.sin, torch.cos))], dim=-1)
    assert encode.outputs == 14
    assert torch.allclose(encode(x), expected)


def test_without_input_and_leading_axes() -> None:
    x = torch.randn(4, 5, 3)
    encode = PositionalEncoding(levels=4, dims=3, include_input=False)
    assert encode(x).shape == (4, 5, encode.outputs) == (4, 5, 24)
    assert torch.equal(encode(x)[2, 1], encode(x[2, 1]))


def test_nerf_widths() -> None:
    assert PositionalEncoding(10, 3).outputs == 63
    assert PositionalEncoding(4, 3).outputs == 27


def test_frequencies_are_not_learned_and_not_saved() -> None:
    encode = PositionalEncoding(10, 3)
    assert not list(encode.parameters())
    assert not encode.state_dict()
