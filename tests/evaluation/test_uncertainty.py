"""What a method leaves possible, held against what came."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
import torch
from PIL import Image
from torch import Tensor

from foreseen.evaluation.ensemble_plot import plot_ensembles
from foreseen.evaluation.horizon import plot_horizon
from foreseen.evaluation.uncertainty import (
    NAME,
    ForecastEnsemble,
    cluster_endpoints,
    coverage,
    describe_branches,
    describe_uncertainty,
)

TIMES = torch.linspace(0, 1, 40)
ALL = torch.ones(40, dtype=torch.bool)


def ensemble(off: Tensor, truth_off: float = 0.0, name: str = "a") -> ForecastEnsemble:
    """One body that goes 2 along x and 1 along y, each future `off` `[E]` away along both."""
    path = torch.stack([2 * TIMES, TIMES, 0 * TIMES], -1).double()[:, None]
    moved = torch.tensor([1.0, 1.0, 0.0], dtype=torch.float64)
    centres = path + off.double()[:, None, None, None] * moved
    return ForecastEnsemble(name, TIMES, centres, path + truth_off * moved, ALL)


def drawn(deviation: float, count: int = 4000) -> Tensor:
    off = deviation * torch.randn(count + 1, generator=torch.Generator().manual_seed(0))
    off[0] = 0
    return off


@pytest.mark.parametrize(("share", "held"), [(1.5, 1.0), (1.8, 0.0)])
def test_the_band_ends_at_1_645_deviations(share: float, held: float) -> None:
    found = coverage([ensemble(drawn(0.1), share * 0.1)])[NAME]
    assert found["coverage"] == held
    assert found["width"] == pytest.approx(2 * 1.645 * 0.1, rel=0.05)
    assert found["count"] == 2 * len(TIMES), "z, along which nothing moves, does not count"


def test_what_is_normal_around_the_forecast_lies_inside_nine_times_out_of_ten() -> None:
    ground_truths = torch.special.ndtri((torch.arange(300) + 0.5) / 300)
    found = coverage([ensemble(drawn(0.1, 300), 0.1 * float(t)) for t in ground_truths])
    assert found[NAME]["coverage"] == pytest.approx(0.9, abs=0.05)


def test_only_scored_times_count() -> None:
    one = replace(ensemble(drawn(0.1), 1.8 * 0.1), scored=TIMES < 0.3)
    one = replace(one, truth=torch.where(one.scored[:, None, None], one.centres[0], one.truth))
    found = coverage([one])[NAME]
    assert found["coverage"] == 1.0 and found["count"] == 2 * int(one.scored.sum())


def test_no_ensemble_gives_nothing() -> None:
    assert coverage([]) == {}


def parted(left: int, right: int, gap: float) -> Tensor:
    """Futures that walk together and then go to +gap or -gap."""
    side = torch.cat([torch.full((left,), -1.0), torch.full((right,), 1.0)])
    ways = gap * side[:, None] * TIMES[None] ** 2 + 0.001 * torch.arange(left + right)[:, None]
    return torch.stack([ways, 0.3 * TIMES.expand_as(ways), 0 * ways], -1)[:, :, None]


def test_separate_ends_are_clusters() -> None:
    both = parted(4, 13, 0.5)
    assert cluster_endpoints(both) == pytest.approx([13 / 17, 4 / 17])
    assert cluster_endpoints(both[:4]) == [1.0]
    assert (
        describe_branches(cluster_endpoints(both), 17)
        == "could go either way: of 17 sampled trajectories 13, 4 end together"
    )
    assert describe_branches([1.0], 17) == ""
    known = coverage([ForecastEnsemble("hill", TIMES, both.double(), both[0].double(), ALL)])[NAME]
    assert known["undecided"] == {"hill": pytest.approx([13 / 17, 4 / 17])} and known["ensemble"] == 17


def test_trajectories_that_meet_again_are_one_cluster() -> None:
    meeting = parted(4, 13, 0.5) * torch.tensor([1.0, 1.0, 1.0])
    meeting[..., 0] *= (1 - TIMES)[None, :, None]
    assert cluster_endpoints(meeting) == [1.0]


class Undecided:
    """Something that forecasts."""

    def __init__(self, centres: Tensor | None) -> None:
        self.centres = centres

    def ensemble(self, times: list[float]) -> Tensor | None:
        self.requested = times
        return self.centres


def test_a_doubt_in_words() -> None:
    forecast = Undecided(parted(1, 2, 0.5))
    assert describe_uncertainty(forecast, 1.0, 3.0).endswith("of 3 sampled trajectories 2, 1 end together")  # type: ignore[arg-type]
    assert forecast.requested[0] == 1.0 and forecast.requested[-1] == 3.0
    assert describe_uncertainty(Undecided(None), 1.0, 3.0) == ""  # type: ignore[arg-type]


def test_the_plot_shows_the_undecided_first() -> None:
    many = [ensemble(drawn(0.1, 8), name=str(i)) for i in range(8)]
    hill = ForecastEnsemble("hill", TIMES, parted(4, 13, 0.5).double(), parted(1, 0, 0.5)[0].double(), ALL)
    sizes = [Image.open(io.BytesIO(plot_ensembles(some, "s", "m"))).size for some in ([hill], [*many, hill])]
    assert sizes[0][0] < sizes[1][0] and sizes[0][1] < sizes[1][1]


def test_names_and_units_in_plots_are_no_formulas() -> None:
    """What Matplotlib reads as a formula and cannot, it raises for."""
    name = r"$\x$"
    assert plot_ensembles([ensemble(drawn(0.1, 8), name=name)], name, name)
    metric = {"label": "PSNR", "better": "higher", "curves": {"d-nerf": [[0.1, 20.0], [0.2, 19.0]]}}
    assert plot_horizon({"metrics": {"psnr": metric}, "time_unit": name}, "d-nerf")
