"""Shots planned and clips rendered, by a run that knows the truth."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from foreseen.errors import UserError
from foreseen.export import Timeline, compose, parse_size, parse_times, plan_clip, write_clip
from foreseen.export.clip import colour_depth
from foreseen.export.compose import GAIN, difference_picture, to_bytes
from sliding_square import DT, HEIGHT, OBSERVED_UNTIL, STEPS, WIDTH, PretendRun, make_dataset, picture


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> PretendRun:
    folder = tmp_path_factory.mktemp("slide")
    return PretendRun(folder, make_dataset(folder / "data"), drift=-1)


def test_times_include_both_ends() -> None:
    assert parse_times("0:1:5") == pytest.approx([0, 0.25, 0.5, 0.75, 1])
    assert parse_times("-1.5:1e1:2") == [-1.5, 10.0]
    assert parse_times("2:2:1") == [2.0]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("0:1", "two colons"),
        ("0-1-5", "two colons"),
        ("a:1:5", "two numbers and a whole number"),
        ("0:1:2.5", "two numbers and a whole number"),
        ("0:1:0", "COUNT 1 or more"),
        ("0:inf:5", "finite times"),
    ],
)
def test_times_of_another_form_are_refused(text: str, why: str) -> None:
    with pytest.raises(UserError, match=f"--times '{text}': write START:END:COUNT, such as 0:1.5:90 .*{why}"):
        parse_times(text)


def test_sizes() -> None:
    assert parse_size("400x300") == (400, 300)
    for text in ("400", "400x", "x", "0x5", "4.5x3", "-4x3"):
        with pytest.raises(UserError, match="write WIDTHxHEIGHT in pixels"):
            parse_size(text)


def test_the_default_clip_is_what_was_filmed(run: PretendRun) -> None:
    clip_frames = plan_clip(run, "fixed")
    assert [s.time for s in clip_frames] == pytest.approx([k * DT for k in range(STEPS)])
    assert all(s.truth is None and float(s.camera.position[0]) == 0 for s in clip_frames)


def test_truth_is_what_the_camera_filmed_then(run: PretendRun) -> None:
    clip_frames = plan_clip(run, "train:right", [0.0, 0.32, STEPS * DT + 1], with_truth=True)
    assert clip_frames[0].truth is not None and clip_frames[1].truth is not None
    assert (clip_frames[1].truth.camera_id, clip_frames[1].truth.time) == ("right", pytest.approx(0.3))
    assert clip_frames[2].truth is None  # nothing was filmed that late
    assert float(clip_frames[0].camera.position[0]) == pytest.approx(0.5)


def test_beside_the_truth_the_default_is_when_that_camera_filmed(run: PretendRun) -> None:
    frames = tuple(f for f in run.dataset().sequences[0].frames if f.camera_id == "left" or f.time < 0.25)
    sparse = replace(run.dataset(), sequences=(replace(run.dataset().sequences[0], frames=frames),))
    clip_frames = plan_clip(PretendRun(run.path, sparse), "train:right", with_truth=True)
    assert [s.time for s in clip_frames] == pytest.approx([0.0, 0.1, 0.2])
    assert all(s.truth is not None and s.truth.camera_id == "right" for s in clip_frames)


def test_moving_paths_keep_the_size_that_is_asked_for(run: PretendRun) -> None:
    for path in ("orbit", "spiral", "follow"):
        clip_frames = plan_clip(run, path, [0.0, 0.5, 5.0], size=(20, 10))
        assert [s.time for s in clip_frames] == [0.0, 0.5, 5.0]
        assert {(s.camera.width, s.camera.height) for s in clip_frames} == {(20, 10)}
    orbit = [s.camera.position for s in plan_clip(run, "orbit", [0.0] * 4)]
    assert not torch.allclose(orbit[0], orbit[2], atol=0.5)
    small = plan_clip(run, "fixed", [0.0], downscale=2)[0].camera
    assert (small.width, small.height, small.fx) == (WIDTH // 2, HEIGHT // 2, 16.0)


def test_resizing_keeps_the_view(run: PretendRun) -> None:
    full = plan_clip(run, "fixed", [0.0])[0].camera
    wide = plan_clip(run, "fixed", [0.0], size=(80, 24))[0].camera
    points = torch.tensor([[0.3, -0.2, 4.0], [1.0, 1.0, 6.0]])
    assert torch.allclose(wide.project(points)[0], full.project(points)[0] * torch.tensor([2.0, 1.0]))


def test_unknown_paths_and_cameras_suggest(run: PretendRun) -> None:
    with pytest.raises(UserError, match="unknown path 'orbid': did you mean 'orbit'"):
        plan_clip(run, "orbid")
    with pytest.raises(UserError, match="unknown path 'train': did you mean 'train:CAMERA_ID'"):
        plan_clip(run, "train")
    with pytest.raises(UserError, match="no camera 'rigth': did you mean 'right'"):
        plan_clip(run, "train:rigth")
    with pytest.raises(
        UserError, match="side-by-side needs a camera of the data: give --path train:CAMERA_ID, not orbit"
    ):
        plan_clip(run, "orbit", with_truth=True)


def test_side_by_side_shows_truth_forecast_and_difference(run: PretendRun, tmp_path: Path) -> None:
    times = [0.2, 0.8, 2.0]
    clip_frames = plan_clip(run, "train:left", times, with_truth=True)
    told: list[float] = []
    out = write_clip(run, clip_frames, tmp_path / "clip", channel="side-by-side", progress=lambda s, _: told.append(s))
    frames = [np.asarray(Image.open(p)) for p in sorted(out.iterdir())]
    assert len(frames) == 3 and told[-1] == 1.0
    line = Timeline(0.2, 2.0, OBSERVED_UNTIL + DT / 2, "s")
    truth, rendered = picture("left", 8), run.render(clip_frames[1].camera, 0.8).rgb
    assert not torch.equal(truth, rendered)  # the run has drifted off by then
    panels = [
        ("truth", to_bytes(truth)),
        ("forecast", to_bytes(rendered)),
        (f"difference x {GAIN}", difference_picture(rendered, clip_frames[1].truth.image())),
    ]
    assert np.array_equal(frames[1], compose(panels, 0.8, line))
    late = [
        ("truth", None),
        ("forecast", to_bytes(run.render(clip_frames[2].camera, 2.0).rgb)),
        (f"difference x {GAIN}", None),
    ]
    assert np.array_equal(frames[2], compose(late, 2.0, line))


def test_rgb_is_the_picture_itself(run: PretendRun, tmp_path: Path) -> None:
    write_clip(run, plan_clip(run, "fixed", [0.0, 0.1]), tmp_path / "clip")
    found = np.asarray(Image.open(tmp_path / "clip" / "frame-00001.png"))
    assert np.array_equal(found, to_bytes(picture("left", 1)))


def test_a_bad_target_is_refused_before_rendering(run: PretendRun, tmp_path: Path) -> None:
    before = len(run.rendered)
    with pytest.raises(UserError, match="a clip is an"):
        write_clip(run, plan_clip(run, "fixed", [0.0]), tmp_path / "clip.gif")
    assert len(run.rendered) == before


def test_depth_colours_span_the_whole_clip() -> None:
    near, far = torch.full((20, 20), 2.0), torch.full((20, 20), 4.0)
    seen = torch.full((20, 20), 255, dtype=torch.uint8)
    hole = seen.clone()
    hole[:10] = 0
    bright, dark, half = colour_depth([near, far, near], [seen, seen, hole])
    assert bright.mean() > 200 > 10 > dark.mean()  # near is bright, and the same in every frame
    assert np.array_equal(half[10:], bright[10:]) and half[:10].max() == 0
    empty = next(iter(colour_depth([near], [seen * 0])))
    assert empty.max() == 0


def test_depth_clip_divides_by_the_opacity(run: PretendRun, tmp_path: Path) -> None:
    write_clip(run, plan_clip(run, "fixed", [0.0, 0.1]), tmp_path / "clip", channel="depth")
    found = np.asarray(Image.open(tmp_path / "clip" / "frame-00000.png"))
    assert (found.max(axis=-1) > 0).sum() == 36  # the square alone has depth
