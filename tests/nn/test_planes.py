"""Feature planes: the fused kernel against its plain twin, the twin against finite differences and by hand."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from foreseen.nn import plane_kernels
from foreseen.nn.planes import FeaturePlanes, interpolate_reference

TRIPLANE = ((0, 1), (0, 2), (1, 2))


def reference(planes: FeaturePlanes, coords: Tensor, group: Tensor, data: Tensor | None = None) -> Tensor:
    chosen = planes.data if data is None else data
    return interpolate_reference(chosen, coords, group, planes.layout, planes.channels, planes.groups)


@settings(max_examples=25)
@given(
    seed=st.integers(0, 10**6),
    samples=st.sampled_from([0, 1, 2, 37]),
    groups=st.integers(1, 3),
    channels=st.sampled_from([1, 5, 8]),
    dims=st.integers(2, 4),
    scales=st.integers(1, 3),
)
def test_the_kernel_is_the_reference(
    seed: int, samples: int, groups: int, channels: int, dims: int, scales: int
) -> None:
    torch.manual_seed(seed)
    axes = tuple((a, b) for a in range(dims) for b in range(a + 1, dims))
    resolutions = tuple(tuple(torch.randint(2, 9, (dims,)).tolist()) for _ in range(scales))
    planes = FeaturePlanes(axes, resolutions, channels, groups, initial=(0.5, 1.5))
    coords = torch.rand(samples, dims) * 2.6 - 1.3
    group = torch.randint(groups, (samples,))
    weights = torch.randn(samples, planes.features)
    found = []
    for function in (planes, lambda x, g: reference(planes, x, g)):
        x = coords.clone().requires_grad_()
        planes.data.grad = None
        out = function(x, group)
        (out * weights).sum().backward()
        found.append((out.detach(), planes.data.grad, x.grad))
    for fused, plain in zip(*found):
        assert fused.shape == plain.shape
        torch.testing.assert_close(fused, plain, atol=2e-4, rtol=2e-4)


@pytest.mark.parametrize("count", [1, 2, 3])
def test_as_many_chunks_as_threads_and_more_give_the_same(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.manual_seed(0)
    planes = FeaturePlanes(TRIPLANE, ((5, 6, 7),), 4)
    coords = torch.rand(2, 3) * 2 - 1
    expected = torch.autograd.grad(reference(planes, coords, torch.zeros(2).long()).sum(), planes.data)[0]
    monkeypatch.setattr(plane_kernels, "threads", lambda: count)
    found = torch.autograd.grad(planes(coords).sum(), planes.data)[0]
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)


def test_gradients_of_the_reference_agree_with_finite_differences() -> None:
    torch.manual_seed(0)
    planes = FeaturePlanes(TRIPLANE, ((3, 4, 5), (6, 4, 3)), 3, groups=2)
    # Away from the nodes, where the slope jumps.
    coords = ((torch.rand(6, 3, dtype=torch.float64) * 0.8 + 0.1 + torch.randint(2, (6, 3))) / 60 * 2).requires_grad_()
    group = torch.tensor([0, 1, 1, 0, 1, 0])
    data = planes.data.detach().double().requires_grad_()
    assert torch.autograd.gradcheck(lambda d, x: reference(planes, x, group, d), (data, coords))


def test_backward_twice_on_the_same_input_is_bitwise_the_same() -> None:
    torch.manual_seed(0)
    planes = FeaturePlanes(TRIPLANE, ((16, 16, 16), (48, 48, 48)), 8)
    coords, weights = torch.rand(20_000, 3) * 2 - 1, torch.randn(20_000, 16)
    first, second = (torch.autograd.grad((planes(coords) * weights).sum(), planes.data)[0] for _ in range(2))
    assert torch.equal(first, second)


def test_nodes_hold_their_values_and_corners_lie_at_one() -> None:
    planes = FeaturePlanes(((0, 1),), ((3, 2),), 1)
    with torch.no_grad():
        planes.plane(0, 0)[0, :, :, 0] = torch.tensor([[1.0, 2.0, 4.0], [8.0, 16.0, 32.0]])
    at = torch.tensor([[-1.0, -1.0], [0.0, -1.0], [1.0, -1.0], [-1.0, 1.0], [1.0, 1.0], [0.5, 0.0]])
    expected = torch.tensor([1.0, 2.0, 4.0, 8.0, 32.0, (2 + 4 + 16 + 32) / 4])
    torch.testing.assert_close(planes(at)[:, 0], expected)


def test_groups_do_not_touch_one_another() -> None:
    planes = FeaturePlanes(TRIPLANE, ((4, 4, 4),), 2, groups=3)
    coords = torch.rand(50, 3) * 2 - 1
    planes(coords, torch.full((50,), 1)).sum().backward()
    for p in range(3):
        offset, rows, cols, _, _ = planes.layout[0][p]
        size = 3 * rows * cols * 2
        touched = planes.data.grad[offset : offset + size].view(3, -1).ne(0).any(-1)
        assert touched.tolist() == [False, True, False]


def test_outside_the_box_the_value_is_held_and_has_no_slope() -> None:
    planes = FeaturePlanes(TRIPLANE, ((4, 4, 4),), 2)
    far = torch.tensor([[3.0, -7.0, 1.5]], requires_grad=True)
    out = planes(far)
    torch.testing.assert_close(out, planes(torch.tensor([[1.0, -1.0, 1.0]])))
    out.sum().backward()
    assert not far.grad.any()


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_reads_nothing_outside_the_planes(bad: float) -> None:
    """A crash would take the message about a diverged training with it."""
    planes = FeaturePlanes(TRIPLANE, ((4, 4, 4),), 2)
    coords = torch.full((64, 3), bad, requires_grad=True)
    planes(coords).sum().backward()
    assert planes.data.grad.shape == planes.data.shape


def test_time_planes_change_nothing_at_first() -> None:
    axes = (*TRIPLANE, (0, 3), (1, 3), (2, 3))
    torch.manual_seed(0)
    with_time = FeaturePlanes(axes, ((6, 6, 6, 4),), 4, unit_axes=(3,))
    coords = torch.rand(20, 4) * 2 - 1
    later = coords.clone()
    later[:, 3] = -coords[:, 3]
    torch.testing.assert_close(with_time(coords), with_time(later))
    at_rest = FeaturePlanes(TRIPLANE, ((6, 6, 6),), 4)
    with torch.no_grad():
        at_rest.data.copy_(with_time.data[: at_rest.data.numel()])
    torch.testing.assert_close(with_time(coords), at_rest(coords[:, :3].contiguous()))


def test_views_of_planes_cover_the_data_once() -> None:
    planes = FeaturePlanes(TRIPLANE, ((2, 3, 4), (5, 6, 7)), 3, groups=2)
    with torch.no_grad():
        planes.data.zero_()
        for s in range(2):
            for p in range(3):
                planes.plane(s, p).add_(1)
    assert (planes.data == 1).all()
    assert planes.plane(0, 0).shape == (2, 3, 2, 3)


def test_too_many_planes_or_channels_are_refused() -> None:
    with pytest.raises(ValueError, match="at most 8 planes and 64 channels, got 3 and 65"):
        FeaturePlanes(TRIPLANE, ((2, 2, 2),), 65)
    with pytest.raises(ValueError, match="got 9 and 4"):
        FeaturePlanes(((0, 1),) * 9, ((2, 2),), 4)
