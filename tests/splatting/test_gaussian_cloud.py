"""The budgeted cloud: rows, the two ways in which Gaussians come and go, and where they start."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize

from foreseen.data.types import Frame
from foreseen.errors import UserError
from foreseen.geometry.rotations import quaternion_matrix, rotation_matrix
from foreseen.render.splat import splat
from foreseen.splatting.cloud import GaussianCloud
from foreseen.splatting.config import CloudConfig, WarmUpConfig
from foreseen.splatting.densification import DensityControl, GradientStatistics, relocation_values
from foreseen.splatting.hull_guidance import HullGuidance
from foreseen.splatting.initialization import find_initial_points
from moving_balls import RIGHT, camera, frames, info, picture

TIMES = tuple(i / 11 for i in range(12))
WHITE = (1.0, 1.0, 1.0)


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> list[Frame]:
    return frames(tmp_path_factory.mktemp("balls"), [RIGHT], TIMES)


def cloud_of(count: int, budget: int = 40, degree: int = 1) -> GaussianCloud:
    torch.manual_seed(0)
    cloud = GaussianCloud(budget, degree)
    cloud.add_points(torch.randn(count, 3) * 0.5, torch.rand(count, 3), torch.full((count,), 0.2), 0.5)
    cloud.pop_written_rows()
    return cloud


def test_a_cloud_begins_as_it_is_told() -> None:
    cloud = GaussianCloud(10, 2)
    points, colors = torch.randn(4, 3), torch.rand(4, 3)
    cloud.add_points(points, colors, torch.tensor([0.1, 0.2, 0.3, 0.4]), 0.25)
    rest = cloud.to_gaussians(WHITE, degree=2)
    assert torch.equal(rest.means, points) and rest.harmonics.shape == (4, 9, 3)
    torch.testing.assert_close(rest.opacities, torch.full((4,), 0.25))
    torch.testing.assert_close(rest.scales[:, 1], torch.tensor([0.1, 0.2, 0.3, 0.4]))
    seen = splat(replace(rest, opacities=torch.ones(4), scales=torch.full((4, 3), 0.2)), camera(0.0)).rgb
    pixels, _ = camera(0.0).project(points)
    nearest = int(camera(0.0).project(points)[1].argmin())
    x, y = pixels[nearest].int().tolist()
    torch.testing.assert_close(seen[y, x], colors[nearest], atol=0.05, rtol=0)
    assert cloud.to_gaussians(WHITE, degree=0).harmonics.shape == (4, 1, 3)


def test_kept_gaussians_stay_who_they_are_and_moved_rows_are_told() -> None:
    cloud = cloud_of(9)
    before = cloud.rows(torch.arange(9))
    kept = torch.tensor([True, False, True, True, False, False, True, True, True])
    order = cloud.keep(kept)
    assert len(cloud) == 6 and sorted(order.tolist()) == kept.nonzero()[:, 0].tolist()
    for name, values in cloud.rows(torch.arange(6)).items():
        assert torch.equal(values, before[name][order]), name
    told = {id(parameter): rows.tolist() for parameter, rows in cloud.pop_written_rows()}
    assert told[id(cloud.means)] == [i for i, old in enumerate(order.tolist()) if i != old]
    assert cloud.pop_written_rows() == []


def test_no_more_are_added_than_there_is_room_for() -> None:
    cloud = cloud_of(9, budget=12)
    assert cloud.add(cloud.rows(torch.arange(9))).tolist() == [9, 10, 11]
    assert cloud.num_free == 0 and len(cloud.to_gaussians(WHITE, 1).means) == 12


def test_gradients_do_not_reach_rows_where_nothing_stands() -> None:
    cloud = cloud_of(5)
    splat(cloud.to_gaussians(WHITE, 1), camera(0.0)).rgb.square().mean().backward()
    for name, parameter in cloud.named_parameters():
        if parameter.numel():
            assert parameter.grad is not None and bool((parameter.grad[5:] == 0).all()), name
    assert bool((cloud.means.grad[:5] != 0).any())


def test_sightings_are_means_over_the_pictures_that_showed_a_gaussian() -> None:
    cloud, gradient_statistics = cloud_of(6), GradientStatistics(40)
    cloud.means.data[5] = torch.tensor([0.0, 50.0, 0.0])  # nobody sees it
    expected = torch.zeros(6)
    for angle in (0.0, 1.0, 2.0):
        result = splat(cloud.to_gaussians(WHITE, 1), camera(angle))
        gradient_statistics.record(result, camera(angle))
        result.rgb[:40].square().mean().backward()
        expected += result.screen_gradients(camera(angle)) / 3
    found = gradient_statistics.pop_means(6)
    torch.testing.assert_close(found[:5], expected[:5])
    assert found[5] == 0 and gradient_statistics.views.sum() == 0


def test_small_gaussians_are_cloned_and_large_ones_split_where_pictures_pull() -> None:
    cloud = cloud_of(6)
    cloud.log_scales.data[:3] = np.log(0.004)
    before = cloud.rows(torch.arange(6))
    DensityControl(cloud, CloudConfig(), extent=1.0).densify_and_prune(
        torch.tensor([1e-3, 0, 0, 2e-3, 0, 0]), prune_large=False
    )
    assert len(cloud) == 8
    after = cloud.rows(torch.arange(8))
    assert torch.equal(after["means"][6], before["means"][0]), "the clone"
    torch.testing.assert_close(after["log_scales"][3], before["log_scales"][3] - np.log(1.6))
    torch.testing.assert_close(after["log_scales"][7], after["log_scales"][3])
    assert (after["means"][[3, 7]] - before["means"][3]).norm(dim=-1).max() < 6 * 0.2
    untouched = [1, 2, 4, 5]
    assert torch.equal(after["means"][untouched], before["means"][untouched])


def test_a_full_cloud_grows_where_pictures_pull_most() -> None:
    cloud = cloud_of(6, budget=7)
    cloud.log_scales.data[:] = np.log(0.004)
    DensityControl(cloud, CloudConfig(), extent=1.0).densify_and_prune(
        torch.tensor([1e-3, 3e-3, 2e-3, 0, 0, 0]), prune_large=False
    )
    assert torch.equal(cloud.means[6], cloud.means[1])


def test_transparent_and_huge_gaussians_are_pruned_but_never_all() -> None:
    cloud = cloud_of(6)
    cloud.opacity_logits.data[[1, 4]] = -8
    cloud.log_scales.data[0] = np.log(0.5)
    density, pulls = DensityControl(cloud, CloudConfig(), extent=1.0), torch.zeros(6)
    density.densify_and_prune(pulls, prune_large=False)
    assert len(cloud) == 4
    cloud.log_scales.data[1:4] = np.log(0.05)
    density.densify_and_prune(pulls[:4], prune_large=True)
    assert len(cloud) == 3
    cloud.opacity_logits.data[:] = -8
    density.densify_and_prune(pulls[:3], prune_large=False)
    assert len(cloud) == 3


def test_opacities_are_reset_and_what_adam_knew_of_them_is_forgotten() -> None:
    cloud = cloud_of(6)
    cloud.opacity_logits.data[2] = -9
    DensityControl(cloud, CloudConfig(), extent=1.0).reset_opacities()
    opacities = cloud.opacity_logits[:6].sigmoid()
    torch.testing.assert_close(opacities[[0, 1, 3, 4, 5]], torch.full((5,), 0.01))
    assert opacities[2] < 0.001
    assert [id(parameter) for parameter, _ in cloud.pop_written_rows()] == [id(cloud.opacity_logits)]


def test_opacities_are_reset_at_their_own_steps() -> None:
    """Whatever the steps at which Gaussians come and go."""
    cloud, gradient_statistics = cloud_of(6), GradientStatistics(40)
    config = CloudConfig(refine_every=30, refine_from=0, reset_every=100)
    found = []
    for step in range(1, 301):
        cloud.opacity_logits.data[:6] = 0.0
        DensityControl(cloud, config, extent=1.0).step(gradient_statistics, step, 0.1)
        found += [step] if float(cloud.opacity_logits.detach()[:6].max()) < -1 else []
    assert found == [100, 200, 300]


def test_equal_gaussians_that_share_a_place_look_like_the_one_they_replace() -> None:
    """Along a ray through the centre: composited alpha at the centre exactly, its integral over the picture closely."""
    opacity, scale = torch.tensor([0.3, 0.8, 0.95]), torch.full((3, 3), 0.2)
    x = torch.linspace(-2, 2, 4001)
    for copies in (2, 3, 6):
        new, scales = relocation_values(opacity, scale, torch.full((3,), copies))
        torch.testing.assert_close(1 - (1 - new) ** copies, opacity)
        alpha = opacity[:, None] * torch.exp(-(x**2) / (2 * scale[:, :1] ** 2))
        shared = 1 - (1 - new[:, None] * torch.exp(-(x**2) / (2 * scales[:, :1] ** 2))) ** copies
        torch.testing.assert_close(shared.sum(1), alpha.sum(1), rtol=1e-3, atol=0)
    same = relocation_values(opacity, scale, torch.ones(3, dtype=torch.int64))
    torch.testing.assert_close(same, (opacity, scale))


def test_relocation_leaves_the_picture_nearly_as_it_was_and_fills_the_budget() -> None:
    cloud = cloud_of(30, budget=40)
    cloud.log_scales.data[:] = np.log(0.1)
    cloud.opacity_logits.data[:10] = -9
    before = splat(cloud.to_gaussians(WHITE, 1), camera(0.3)).rgb
    density = DensityControl(cloud, CloudConfig(growth=2.0), extent=2.0)
    density.relocate()
    after = splat(cloud.to_gaussians(WHITE, 1), camera(0.3)).rgb
    assert len(cloud) == 40 and bool((cloud.opacity_logits[:40].sigmoid() > 0.005).all())
    assert (after - before).abs().mean() < 0.1 * (before - 1).abs().mean()
    density.relocate()
    assert len(cloud) == 40


def test_only_transparent_gaussians_are_shaken_along_their_own_shape() -> None:
    cloud = cloud_of(2000, budget=2000)
    cloud.opacity_logits.data[:1000] = 3
    cloud.opacity_logits.data[1000:] = -9
    cloud.log_scales.data[:] = torch.tensor([0.2, 0.01, 0.01]).log()
    rotation = torch.tensor([0.9, 0.1, 0.4, -0.2])
    cloud.quaternions.data[:] = rotation
    before = cloud.means.detach().clone()
    DensityControl(cloud, CloudConfig(), extent=1.0).add_noise(1e-5)
    deformed = cloud.means.detach() - before
    assert deformed[:1000].abs().max() < 1e-6
    own = deformed[1000:] @ quaternion_matrix(normalize(rotation, dim=0))
    assert own[:, 0].std() > 100 * own[:, 1:].std()


def test_matrices_of_quaternions() -> None:
    vectors = torch.randn(20, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    half = vectors.norm(dim=-1, keepdim=True) / 2
    quaternions = torch.cat([half.cos(), half.sin() * normalize(vectors, dim=-1)], dim=-1)
    torch.testing.assert_close(quaternion_matrix(quaternions), rotation_matrix(vectors))


def test_silhouettes_give_the_surface_of_what_moves_at_one_time(seen: list[Frame]) -> None:
    torch.manual_seed(0)
    start = find_initial_points(seen, info(TIMES), CloudConfig(start_points=300), "one")
    path, radius = RIGHT
    distances = [np.linalg.norm(start.points - np.array(path(t)), axis=1) for t in np.linspace(0, 1, 12)]
    assert 100 <= len(start.points) <= 300
    assert 0.5 * radius < min(np.median(d) for d in distances) < 1.6 * radius
    assert np.abs(np.median(start.colors, axis=0) - (0.8, 0.1, 0.1)).max() < 0.35
    ever = find_initial_points(seen, info(TIMES), CloudConfig(start_points=5000), "all")
    assert np.ptp(ever.points[:, 1]) > 2 * np.ptp(start.points[:, 1]), "along the whole path"


def test_the_cloud_starts_when_all_are_there(tmp_path: Path) -> None:
    """Of two balls one comes late, and is far from the other."""
    late = (lambda t: (-0.9, 1.3 * (2 * t - 1), -0.6 if t > 0.3 else 900.0), 0.35)
    start = find_initial_points(
        frames(tmp_path, [RIGHT, late], TIMES), info(TIMES), CloudConfig(start_points=300), "one"
    )
    assert min((start.points[:, 0] > 0.3).mean(), (start.points[:, 0] < -0.3).mean()) > 0.2


def test_in_a_room_that_fixed_cameras_film_what_rests_is_known(tmp_path: Path) -> None:
    room = frames(tmp_path, [RIGHT], TIMES)
    noise = np.random.default_rng(0)
    walls = {i: noise.random((24, 24, 3), dtype=np.float32) for i in range(4)}
    for frame in room:
        image = picture(frame.camera, [RIGHT], frame.time, walls[int(frame.camera_id)])
        Image.fromarray((255 * image).round().astype(np.uint8)).save(frame.image_path)
    torch.manual_seed(0)
    start = find_initial_points(room, info(TIMES), CloudConfig(start_points=400), "one")
    distances = np.min([np.linalg.norm(start.points - np.array(RIGHT[0](t)), axis=1) for t in TIMES], axis=0)
    assert start.static_mask is not None and 50 < start.static_mask.sum() < 350
    assert (
        np.median(distances[~start.static_mask]) < 2 * RIGHT[1] < 4 * RIGHT[1] < np.median(distances[start.static_mask])
    )
    ever = find_initial_points(room, info(TIMES), CloudConfig(start_points=400), "all")
    assert ever.static_mask is None, "as published: nothing is told of what rests"


def test_what_comes_of_a_gaussian_belongs_where_it_did() -> None:
    cloud, part_ids = GaussianCloud(40, 1), [1, 0, 1, 0]
    for size, part_id in zip((0.001, 0.002, 1.0, 2.0), part_ids):
        cloud.add_points(torch.randn(1, 3), torch.rand(1, 3), torch.tensor([size]), 0.5, part_id)
    DensityControl(cloud, CloudConfig(budget=40), 1.0).densify_and_prune(torch.full((4,), 1.0), False)
    sizes = cloud.log_scales[:8].amax(1).exp()
    assert len(cloud) == 8
    for place, part_id in zip((0.001, 0.002, 1.0 / 1.6, 2.0 / 1.6), part_ids):
        assert cloud.part_ids[:8][(sizes - place).abs() < 1e-4].tolist() == [part_id] * 2, place


def test_points_at_random_fill_the_bounds(seen: list[Frame]) -> None:
    start = find_initial_points(seen, info(TIMES), CloudConfig(start="random", start_points=2000), "all")
    assert start.points.shape == (2000, 3) and 1.9 < np.abs(start.points).max() <= 2
    assert 0.05 < float(start.spacing(CloudConfig().initialization).median()) < 0.6


def test_points_of_a_file(seen: list[Frame], tmp_path: Path) -> None:
    header = ["ply", "format ascii 1.0", "element vertex 2", *(f"property float {a}" for a in "xyz")]
    colors = [f"property uchar {c}" for c in ("red", "green", "blue")]
    (tmp_path / "a.ply").write_text("\n".join([*header, *colors, "end_header", "1 2 3 255 0 51", "0 1 2 0 0 0", ""]))
    start = find_initial_points(seen, info(TIMES), CloudConfig(points=str(tmp_path / "a.ply")), "all")
    assert start.points.tolist() == [[1, 2, 3], [0, 1, 2]]
    assert start.colors[0] == pytest.approx([1, 0, 0.2])
    (tmp_path / "b.ply").write_text("ply\nformat ascii 1.0\nelement face 1\nproperty int a\nend_header\n1\n")
    for name, words in (("b.ply", "no element 'vertex' with x, y and z"), ("c.ply", "is no file")):
        with pytest.raises(UserError, match=words):
            find_initial_points(seen, info(TIMES), CloudConfig(points=str(tmp_path / name)), "all")


def test_no_more_points_begin_than_the_budget_holds(seen: list[Frame]) -> None:
    start = find_initial_points(
        seen, info(TIMES), CloudConfig(start="silhouettes", start_points=500, budget=200), "all"
    )
    assert len(start.points) == 200


def test_points_that_no_camera_reaches_are_left_out(seen: list[Frame], tmp_path: Path) -> None:
    far = max(f.camera.far for f in seen)
    header = ["ply", "format ascii 1.0", "element vertex 2", *(f"property float {a}" for a in "xyz"), "end_header"]
    for places, words in ((["0 0 1", f"0 0 {9 * far}"], None), ([f"0 0 {9 * far}"] * 2, "beyond the far distance")):
        (tmp_path / "a.ply").write_text("\n".join([*header, *places, ""]))
        config = CloudConfig(points=str(tmp_path / "a.ply"))
        if words is None:
            start = find_initial_points(seen, info(TIMES), config, "all")
            assert start.points.tolist() == [[0, 0, 1]] and "without 1 of 2 that lie beyond" in start.source
        else:
            with pytest.raises(UserError, match=words):
                find_initial_points(seen, info(TIMES), config, "all")


@pytest.mark.parametrize("count", [-1, 41])
def test_a_saved_cloud_has_no_more_than_its_budget(count: int) -> None:
    saved = cloud_of(9).state_dict()
    saved["count"] = torch.tensor(count)
    with pytest.raises(UserError, match=f"Gaussians: count: {count} is not in 0 to 40"):
        GaussianCloud(40, 1).load_state_dict(saved)


def test_saved_hulls_are_no_more_than_are_kept() -> None:
    saved = HullGuidance(WarmUpConfig()).state_dict()
    saved["num_times"] = torch.tensor(65)
    with pytest.raises(UserError, match="hulls: num_times: 65 is not in 0 to 64"):
        HullGuidance(WarmUpConfig()).load_state_dict(saved)
