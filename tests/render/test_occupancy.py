"""Occupancy: what is found stays, what is gone is forgotten, what is closed stays closed."""

import torch
from torch import Tensor

from foreseen.render.occupancy import OccupancyGrid


def blob(coords: Tensor, box: Tensor) -> Tensor:
    """A ball of density 5 around (0.5, 0, 0) in box 1; nothing in box 0."""
    inside = (coords - torch.tensor([0.5, 0.0, 0.0])).norm(dim=-1) < 0.3
    return 5.0 * (inside & (box == 1))


def cell_centres(cells: int) -> Tensor:
    line = (torch.arange(cells) + 0.5) / cells * 2 - 1
    return torch.stack(torch.meshgrid(line, line, line, indexing="ij"), -1)


def settled(share: float = 1.0, iterations: int = 30) -> OccupancyGrid:
    torch.manual_seed(0)
    grid = OccupancyGrid(2, 8, threshold=0.5)
    for _ in range(iterations):
        grid.refresh(blob, share)
    return grid


def test_at_first_everything_is_looked_at() -> None:
    assert OccupancyGrid(3, 4, threshold=0.5).occupied.tolist() == [1, 1, 1]


def test_a_refresh_finds_a_blob_and_forgets_the_rest() -> None:
    grid = settled()
    found = grid.density > grid.threshold
    distance = (cell_centres(8) - torch.tensor([0.5, 0.0, 0.0])).norm(dim=-1)
    assert not found[0].any()
    assert found[1][distance < 0.2].all()
    assert not found[1][distance > 0.3 + 3**0.5 / 8].any()
    assert torch.equal(grid.occupied, found.float().mean((1, 2, 3)))


def test_a_share_of_the_cells_finds_it_too_and_looks_at_no_more_than_that() -> None:
    requested = []

    def counting(coords: Tensor, box: Tensor) -> Tensor:
        requested.append(len(coords))
        return blob(coords, box)

    torch.manual_seed(0)
    grid = OccupancyGrid(2, 8, threshold=0.5)
    for _ in range(300):
        grid.refresh(counting, share=0.1)
    assert max(requested) <= 102
    expected = settled(iterations=60).density > 0.5
    assert ((grid.density > 0.5) != expected).float().mean() < 0.02


def test_decay_forgets_what_has_gone() -> None:
    grid = settled()
    nothing = lambda coords, box: torch.zeros(len(coords))  # noqa: E731
    grid.refresh(nothing, decay=0.5)
    assert grid.density.max() == 2.5
    for _ in range(3):
        grid.refresh(nothing, decay=0.5)
    assert not grid.occupied.any()


def test_points_are_drawn_in_the_cell_that_they_stand_for() -> None:
    grid = OccupancyGrid(2, 5, threshold=0.1)
    grid.density.zero_()
    grid.refresh(lambda coords, box: 100 * box + 1 + (coords + 1).sum(-1))
    low = (cell_centres(5) + 1).sum(-1) - 0.6
    for box in range(2):
        beyond = grid.density[box] - 100 * box - 1 - low
        assert (beyond >= -1e-4).all() and (beyond <= 1.2 + 1e-4).all() and beyond.std() > 0.1


def test_closed_cells_stay_closed() -> None:
    grid = OccupancyGrid(2, 8, threshold=0.5)
    closed = torch.zeros(2, 8, 8, 8, dtype=torch.bool)
    closed[1, :3] = True
    grid.close(closed)
    for share in (1.0, 0.5):
        grid.refresh(lambda coords, box: torch.full((len(coords),), 9.0), share)
    assert (grid.density[closed] == -1).all() and (grid.density[~closed] == 9).all()


def test_a_refresh_is_the_same_each_time_however_many_threads_there_are() -> None:
    """A cell drawn twice in one refresh must not be decided by which thread writes last."""
    results, threads = [], torch.get_num_threads()
    try:
        for count in (1, 4, 4):
            torch.set_num_threads(count)
            torch.manual_seed(0)
            grid = OccupancyGrid(2, 24, threshold=0.5)
            for _ in range(20):
                grid.refresh(lambda coords, box: coords.sum(-1) + 3, share=0.9, decay=0.0)
            results.append(grid.density.clone())
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(results[0], results[1]) and torch.equal(results[1], results[2])


def test_it_is_saved_and_loaded() -> None:
    other = OccupancyGrid(2, 8, threshold=0.5)
    other.load_state_dict(settled().state_dict())
    assert torch.equal(other.density, settled().density)
