"""Rays of a batch are those of the cameras; pixels are drawn where and as often as the method asks."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from changed_info import changed
from foreseen.batches.foreground import find_foreground
from foreseen.batches.rays import CameraTable, RaySampler, RaySpec
from foreseen.core.scene_info import SceneInfo
from foreseen.data.types import Frame
from foreseen.errors import UserError
from foreseen.geometry.cameras import Camera
from foreseen.geometry.ndc import NDC

INFO = SceneInfo.of_one_scene(
    bounds=((-1.0, -1.0, -1.0), (1.0, 1.0, 1.0)),
    near=1.0,
    far=4.0,
    times=((0.0, 0.5, 1.0),),
    background=(0.0, 0.5, 1.0),
    has_alpha=True,
    ndc=False,
    static_cameras=False,
)


def pose(seed: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    q, r = torch.linalg.qr(torch.randn(3, 3, generator=generator))
    q = q * torch.sign(torch.diagonal(r))
    out = torch.eye(4)
    out[:3, :3] = q * torch.linalg.det(q)
    out[:3, 3] = torch.randn(3, generator=generator)
    return out


def camera(seed: int, ndc: NDC | None = None, width: int = 20, height: int = 16) -> Camera:
    return Camera(pose(seed), 30.0 + seed, 33.0, 9.5, 8.25 + seed, width, height, 1.0, 4.0, ndc)


def frames(folder: Path, pictures: list[np.ndarray], cameras: list[Camera] | None = None) -> list[Frame]:
    out = []
    for index, picture in enumerate(pictures):
        path = folder / f"{index}.png"
        Image.fromarray(picture).save(path)
        own = cameras[index] if cameras else camera(index, width=picture.shape[1], height=picture.shape[0])
        out.append(Frame("one", own, f"camera {index}", (0.0, 0.5, 1.0)[index % 3], path))
    return out


def noise(height: int, width: int, channels: int = 4, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 255, (height, width, channels), dtype=np.uint8)


@pytest.mark.parametrize("ndc", [None, NDC(pose(7), 1.3, 1.1, 0.7)])
def test_rays_of_many_frames_are_those_of_their_cameras(ndc: NDC | None) -> None:
    cameras = [camera(i, ndc) for i in range(4)]
    index = torch.randint(4, (200,))
    pixels = torch.rand(200, 2) * 16
    rays = CameraTable(cameras).rays(index, pixels)
    for i, own in enumerate(cameras):
        mine = own.rays(pixels[index == i])
        for name in ("origins", "directions", "view_directions"):
            torch.testing.assert_close(
                getattr(rays, name)[index == i], getattr(mine, name), rtol=1e-5, atol=1e-5, msg=name
            )


def test_a_batch_holds_what_the_frames_show(tmp_path: Path) -> None:
    shapes = ((16, 20), (10, 14), (16, 20))
    given = frames(tmp_path, [noise(h, w, seed=i) for i, (h, w) in enumerate(shapes)])
    given = [replace(f, background=INFO.background) for f in given]
    batch = RaySampler(given, ("one",), INFO, seed=0).batch(RaySpec(rays=400), step=0)
    for index, frame in enumerate(given):
        mine = batch.time_indices == index
        assert 80 < int(mine.sum()) < 190  # every frame as often as another, whatever its size
        everything = frame.camera.rays(frame.camera.pixel_centres()).directions.reshape(-1, 3)
        place = torch.cdist(batch.rays.directions[mine], everything).argmin(dim=1)
        torch.testing.assert_close(batch.colors[mine], frame.image().reshape(-1, 3)[place], rtol=0, atol=1e-6)
        torch.testing.assert_close(batch.alpha[mine], frame.rgba()[..., 3].reshape(-1)[place], rtol=0, atol=1e-6)
        assert set(batch.times[mine].tolist()) == {frame.time}


def test_the_same_state_draws_the_same_batch_with_and_without_room_in_memory(tmp_path: Path) -> None:
    given = frames(tmp_path, [noise(16, 20, seed=i) for i in range(3)])
    said: list[str] = []
    spec = RaySpec(rays=50, frames=2, foreground=0.5)
    roomy, tight = (RaySampler(given, ("one",), INFO, 3, memory_mb=m, say=said.append) for m in (64, 0))
    assert "more than 0 MB" in said[0] and len(said) == 1
    for _ in range(2):
        a, b = roomy.batch(spec, 0), tight.batch(spec, 0)
        assert torch.equal(a.colors, b.colors) and torch.equal(a.rays.directions, b.rays.directions)
    state = roomy.state()
    expected = roomy.batch(spec, 0).colors
    assert not torch.equal(roomy.batch(spec, 0).colors, expected)
    roomy.set_state(state)
    assert torch.equal(roomy.batch(spec, 0).colors, expected)


def test_one_frame_a_batch_and_chosen_times(tmp_path: Path) -> None:
    sampler = RaySampler(frames(tmp_path, [noise(8, 8) for _ in range(6)]), ("one",), INFO, seed=0)
    drawn = {tuple(sampler.batch(RaySpec(rays=9, frames=1), 0).time_indices.unique().tolist()) for _ in range(40)}
    assert drawn == {(0,), (1,), (2,)}
    assert set(sampler.batch(RaySpec(rays=90, time_indices=(0, 2)), 0).time_indices.tolist()) == {0, 2}
    with pytest.raises(UserError, match=r"no training frame has one of the times of indices \(7,\)"):
        sampler.batch(RaySpec(time_indices=(7,)), 0)


def test_first_steps_stay_in_the_central_half(tmp_path: Path) -> None:
    picture = np.zeros((16, 24, 4), np.uint8)
    picture[4:12, 6:18] = 255
    sampler = RaySampler(frames(tmp_path, [picture] * 3), ("one",), INFO, seed=0)
    spec = RaySpec(rays=500, centre_crop_steps=10)
    assert bool((sampler.batch(spec, 9).alpha == 1).all())
    assert bool((sampler.batch(spec, 10).alpha == 0).any())


def test_foreground_by_alpha(tmp_path: Path) -> None:
    picture = np.zeros((64, 64, 4), np.uint8)
    picture[30:34, 30:34] = 255
    sampler = RaySampler(frames(tmp_path, [picture] * 3), ("one",), INFO, seed=0)
    batch = sampler.batch(RaySpec(rays=1000, foreground=0.5), 0)
    inside = float((batch.alpha > 0).float().mean())
    assert 0.05 < inside < 0.14  # half of the rays lie in the square of 10 x 10 around the 4 x 4 that is seen
    assert float((batch.alpha[:500] > 0).float().mean()) == pytest.approx(16 / 100, abs=0.06)


def test_foreground_by_motion_of_a_fixed_camera(tmp_path: Path) -> None:
    pictures = []
    for index in range(9):
        picture = noise(32, 32, 3) // 2
        picture[4 * index % 28 : 4 * index % 28 + 3, 10:13] = 255
        pictures.append(picture)
    given = [replace(f, camera_id="fixed") for f in frames(tmp_path, pictures, [camera(0, None, 32, 32)] * 9)]
    info = replace(INFO, has_alpha=False, static_cameras=True)
    batch = RaySampler(given, ("one",), info, seed=0).batch(RaySpec(rays=400, foreground=1.0), 0)
    assert batch.alpha is None
    white = float((batch.colors.amin(dim=1) == 1).float().mean())
    assert white == pytest.approx(9 / 81, abs=0.06)  # 3 x 3 widened by three pixels on each side


def test_without_alpha_and_fixed_cameras_rays_are_uniform_and_it_says_so(tmp_path: Path) -> None:
    said: list[str] = []
    given = frames(tmp_path, [noise(8, 8, 3) for _ in range(3)])
    sampler = RaySampler(given, ("one",), replace(INFO, has_alpha=False), 0, say=said.append)
    assert sampler.batch(RaySpec(rays=8, foreground=0.5), 0).colors.shape == (8, 3)
    sampler.batch(RaySpec(rays=8, foreground=0.5), 1)
    assert said == ["no alpha and no fixed cameras to find the moving part from: rays are drawn uniformly."]


def test_background_only(tmp_path: Path) -> None:
    """Outside of what moves and its widened edge, everywhere else; whole pictures where nothing can be found."""
    pictures = []
    for index in range(9):
        picture = noise(32, 32, 3) // 2
        picture[3 * index : 3 * index + 5, 12:17] = 255
        pictures.append(picture)
    given = [replace(f, camera_id="fixed") for f in frames(tmp_path, pictures, [camera(0, None, 32, 32)] * 9)]
    info = replace(INFO, has_alpha=False, static_cameras=True)
    sampler = RaySampler(given, ("one",), info, seed=0)
    spec = RaySpec(rays=2000, background_only=True, centre_crop_steps=1)
    for step in (0, 1):
        batch = sampler.batch(spec, step)
        assert float(batch.colors.amin(dim=1).max()) < 0.6
        assert len(batch.rays.directions.unique(dim=0)) > (200, 600)[step]
    unknown = RaySampler(given, ("one",), replace(info, static_cameras=False), seed=0)
    assert float(unknown.batch(spec, 1).colors.amin(dim=1).max()) == 1


def test_even_sequences(tmp_path: Path) -> None:
    """Of eight frames of one sequence and one of another, each sequence is drawn half of the time."""
    given = frames(tmp_path, [noise(8, 8, seed=i) for i in range(9)])
    given = [replace(f, time=float(i), sequence="long" if i < 8 else "short") for i, f in enumerate(given)]
    info = changed(INFO, times=(tuple(float(i) for i in range(8)), (8.0,)))
    sampler = RaySampler(given, ("long", "short"), info, seed=0)
    for even, share in ((True, 1 / 2), (False, 1 / 9)):
        spec = RaySpec(rays=4, frames=1, even_sequences=even)
        drawn = [int(sampler.batch(spec, 0).sequences.unique()) for _ in range(300)]
        assert sum(drawn) / 300 == pytest.approx(share, abs=0.08)


def test_what_rests_in_one_sequence_and_is_absent_in_others_is_foreground(tmp_path: Path) -> None:
    """A square rests at one place of one camera for most of sequence "one", and is elsewhere in "two" and "three"."""
    places = {"one": [4] * 7 + [12, 12], "two": [12] * 9, "three": [8] * 9}
    taken = []
    for name, columns in places.items():
        for i, column in enumerate(columns):
            picture = np.full((16, 20, 3), 90, np.uint8)
            picture[6:9, column : column + 2] = (250, 20, 20)
            path = tmp_path / f"{name}-{i}.png"
            Image.fromarray(picture).save(path)
            taken.append(Frame(name, camera(0), "only", 0.1 * i, path))
    times = tuple(0.1 * i for i in range(9))
    info = changed(INFO, times=(times,) * 3, names=tuple(places), static_cameras=True, has_alpha=False)
    sampler = RaySampler(taken, tuple(places), info, seed=0)
    foreground = find_foreground(sampler.store, True, sampler.backgrounds)
    assert foreground is not None
    for frame, column in enumerate(column for columns in places.values() for column in columns):
        pixels = torch.tensor([7 * 20 + column, 7 * 20 + 18])
        assert foreground.contains(torch.full((2,), frame), pixels).tolist() == [True, False]
