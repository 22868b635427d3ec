"""Voxels: where they are, what they hold, and the compiled kernels against their definitions."""

import pytest
import torch

from foreseen.errors import UserError
from foreseen.nn.voxels import CHANNELS, GAIN, VoxelGrids, VoxelTable, inward_clamp


def grids(seed: int = 0, share: float = 0.1) -> VoxelGrids:
    """Three boxes of two levels, most of whose cells are closed."""
    g = torch.Generator().manual_seed(seed)
    table = VoxelTable.build([(4, 9), (5, 7), (3, 11)], torch.rand(3, 8, 8, 8, generator=g) < share)
    voxels = VoxelGrids(table)
    with torch.no_grad():
        voxels.values.copy_(torch.randn(voxels.values.shape, generator=g))
    return voxels


def test_voxels_are_there_where_a_cell_is_open_and_nowhere_far_from_it() -> None:
    cells = torch.zeros(1, 16, 16, 16, dtype=torch.bool)
    cells[0, 3, 8, 12] = True
    table = VoxelTable.build([(17, 33)], cells)
    assert table.rows == int((table.index >= 0).sum()) == int(table.index.max()) + 1
    voxels = VoxelGrids(table)
    with torch.no_grad():
        voxels.values[:, 0] = 1.0
    inside = (torch.tensor([3.0, 8.0, 12.0]) + torch.rand(200, 3)) / 16 * 2 - 1
    here = voxels.features(inside, torch.zeros(200, dtype=torch.int64))[:, 0]
    torch.testing.assert_close(here, torch.full((200,), 2.0), msg="both levels are whole in the open cell")
    away = torch.tensor([[0.9, 0.0, 0.5], [-0.5, -0.8, 0.5]])
    assert not voxels.features(away, torch.zeros(2, dtype=torch.int64)).any()
    assert table.rows < 0.05 * (17**3 + 33**3)


def test_a_node_holds_what_is_asked_at_its_place() -> None:
    voxels = VoxelGrids(VoxelTable.build([(3,)], torch.ones(1, 2, 2, 2, dtype=torch.bool)))
    with torch.no_grad():
        voxels.values[:, 0] = torch.arange(27.0)
    place = torch.tensor([[-1.0, 0.0, 1.0]])  # i = 0, j = 1, k = 2
    assert voxels.features(place, torch.tensor([0]))[0, 0].item() == 5
    between = voxels.features(torch.tensor([[-0.5, 0.0, 1.0]]), torch.tensor([0]))[0, 0]
    assert between.item() == pytest.approx((5 + 14) / 2)


def test_untrained_space_is_grey_and_nearly_empty() -> None:
    voxels = VoxelGrids(VoxelTable.build([(3, 6)], torch.ones(1, 4, 4, 4, dtype=torch.bool)), initial=0.03)
    features = voxels.features(torch.rand(50, 3) * 2 - 1, torch.zeros(50, dtype=torch.int64))
    torch.testing.assert_close(voxels.density(features), torch.full((50,), 0.03))
    torch.testing.assert_close(voxels.color(features, torch.randn(50, 3)), torch.full((50, 3), 0.5))


def test_shade_is_along_the_normal() -> None:
    features = torch.tensor([[0.0, 0.4, 0.2, 0.1, 0.0, 0.0, 0.5]])
    lit = VoxelGrids.color(features, torch.tensor([[0.0, 0.0, 1.0]]))
    dark = VoxelGrids.color(features, torch.tensor([[0.0, 0.0, -1.0]]))
    torch.testing.assert_close(lit, torch.tensor([[0.6, 0.3, 0.15]]))
    torch.testing.assert_close(dark, torch.tensor([[0.2, 0.1, 0.05]]))


def test_beyond_its_ends_the_clamp_lets_only_gradients_back() -> None:
    x = torch.tensor([-0.5, -0.5, 0.5, 1.5, 1.5], requires_grad=True)
    (inward_clamp(x) * torch.tensor([1.0, -1.0, 1.0, 1.0, -1.0])).sum().backward()
    # Descent moves against the gradient: up from below 0, down from above 1.
    assert x.grad is not None and x.grad.tolist() == [0.0, -1.0, 1.0, 1.0, 0.0]


def test_features_and_their_gradients_are_what_their_definition_says() -> None:
    g = torch.Generator().manual_seed(5)
    voxels = grids(share=0.5)
    local = (torch.rand(300, 3, generator=g) * 2 - 1).requires_grad_()
    box = torch.randint(3, (300,), generator=g)
    weights = torch.randn(300, CHANNELS, generator=g)
    found = []
    for appearance in (voxels.features, voxels.features_reference):
        values = appearance(local, box)
        found.append((values, *torch.autograd.grad((values * weights).sum(), (local, voxels.values))))
    for fast, slow in zip(*found):
        assert slow.abs().max() > 0.1
        torch.testing.assert_close(fast, slow, atol=1e-4, rtol=1e-4)


def test_the_definition_has_the_gradient_of_finite_differences() -> None:
    voxels = grids(share=0.5).double()
    local = (torch.rand(6, 3, dtype=torch.float64) * 1.8 - 0.9).requires_grad_()
    box = torch.tensor([0, 1, 2, 0, 1, 2])
    assert torch.autograd.gradcheck(lambda x: voxels.features(x, box), (local,), eps=1e-7, atol=1e-5)


def test_roughness_is_what_its_definition_says() -> None:
    voxels = grids()
    torch.manual_seed(3)
    first = int(torch.randint(4, ()))
    torch.manual_seed(3)
    fast, slow = voxels.roughness(), voxels.roughness_reference(first, 4)
    torch.testing.assert_close(fast, slow)
    a, b = (torch.autograd.grad(x * 3, voxels.values)[0] for x in (fast, slow))
    assert b.abs().max() > 0
    torch.testing.assert_close(a, b)


def test_what_is_even_has_no_roughness() -> None:
    voxels = grids()
    with torch.no_grad():
        voxels.values.fill_(0.7)
    assert voxels.roughness() == 0


def test_grids_like_saved_ones() -> None:
    voxels = grids()
    saved = {f"appearance.{name}": value for name, value in voxels.state_dict().items()}
    other = VoxelGrids.from_tensors(saved, "appearance.")
    other.load_state_dict(voxels.state_dict())
    local, box = torch.rand(20, 3), torch.zeros(20, dtype=torch.int64)
    assert torch.equal(other.features(local, box), voxels.features(local, box))
    assert torch.equal(other.finest, torch.tensor([9, 7, 11]))


def test_density_moves_faster_than_colour() -> None:
    voxels = grids()
    features = torch.zeros(1, CHANNELS)
    features[0, 0] = 10 / GAIN
    assert float(voxels.density(features)) == pytest.approx(10 + voxels.shift, abs=0.01)


def christoffel_term(name: str, place: tuple[int, ...], value: int) -> dict[str, torch.Tensor]:
    """A state dict with another number in one place."""
    saved = {key: tensor.clone() for key, tensor in grids().state_dict().items()}
    saved[name][place] = value
    return saved


LAST = len(grids().index)
WRONG = [
    (christoffel_term("index", (7,), 10_000_000), "voxels: index: 10000000 is not in -1 to "),
    (christoffel_term("index", (7,), -2), "voxels: index: -2 is not in -1 to "),
    (christoffel_term("index", (-1,), len(grids().values)), "voxels: index: "),
    (christoffel_term("layout", (0, 0, 0), -1), r"voxels: layout: 4\^3 nodes from -1 on are not in an index of"),
    (christoffel_term("layout", (2, 1, 0), LAST - 11**3 + 1), r"voxels: layout: 11\^3 nodes from "),
    (christoffel_term("layout", (0, 1, 1), 1), r"voxels: layout: 1\^3 nodes"),
    (christoffel_term("layout", (0, 1, 1), 2**22), r"voxels: layout: 4194304\^3 nodes"),  # whose cube is 0 in 64 bits
]


@pytest.mark.parametrize(("saved", "message"), WRONG)
def test_saved_voxels_lead_nowhere_else(saved: dict[str, torch.Tensor], message: str) -> None:
    """Kernels read, and in training write, where layout and index say."""
    with pytest.raises(UserError, match=message):
        VoxelGrids.from_tensors(saved, "")
    with pytest.raises(UserError, match=message):
        grids().load_state_dict(saved)


def test_saved_voxels_have_their_form() -> None:
    saved = grids().state_dict()
    with pytest.raises(UserError, match=r"voxels: layout is torch.int64 \[6, 2\], not int64 \[boxes, levels, 2\]"):
        VoxelGrids.from_tensors({**saved, "layout": saved["layout"].flatten(0, 1)}, "")
    with pytest.raises(UserError, match=r"voxels: layout is torch.float32"):
        VoxelGrids.from_tensors({**saved, "layout": saved["layout"].float()}, "")
    with pytest.raises(UserError, match=r"voxels: index is torch.float32 \[\d+\], not int32 and flat"):
        VoxelGrids.from_tensors({**saved, "index": saved["index"].float()}, "")
