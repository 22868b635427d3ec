"""Pictures for the screen: channels, columns, Gaussians for the browser."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from foreseen.data.types import Dataset
from foreseen.render import ImageResult
from foreseen.scenes.gaussians import Gaussians
from foreseen.viewer.cameras import view_of
from foreseen.viewer.channels import ChannelColorizer, flow_picture, motion_picture, render_in_bands
from foreseen.viewer.layout import column_size, fit_size, match_height, shortened, side_by_side
from foreseen.viewer.resolution import AdaptiveResolution
from foreseen.viewer.source import ViewerSource
from foreseen.viewer.sources import DatasetSource, RunSource
from foreseen.viewer.state_controls import StateControl, find_state_controls, format_initial_condition, free_axes
from foreseen.viewer.view_renderer import RenderRequest, ViewRenderer, splat_arrays
from sliding_square import DT, HEIGHT, OBSERVED_UNTIL, STEPS, WIDTH, PretendRun, camera, make_dataset


def pattern(one: object) -> ImageResult:
    """What a camera sees of a world whose colour is the direction of the ray: bands must fit together."""
    rays = one.rays(one.pixel_centres())  # type: ignore[attr-defined]
    return ImageResult(rays.directions, rays.directions[..., 2], rays.directions[..., 0].abs())


@pytest.mark.parametrize("lines", [1, 7, 24, 99])
def test_bands_make_the_whole_picture(lines: int) -> None:
    one = camera("left")
    *pauses, whole = render_in_bands(pattern, one, lines)
    assert pauses == [None] * (-(-HEIGHT // lines) - 1)
    assert whole is not None
    for name in ("rgb", "depth", "opacity"):
        assert torch.allclose(getattr(whole, name), getattr(pattern(one), name), atol=1e-6)


def test_depth_keeps_its_range_while_one_looks() -> None:
    colours = ChannelColorizer()
    near = ImageResult(torch.zeros(8, 8, 3), torch.linspace(1, 2, 64).reshape(8, 8), torch.ones(8, 8))
    far = replace(near, depth=near.depth + 4)
    first = colours.picture("depth", near)
    colours.picture("depth", far)
    after = colours.picture("depth", near)
    assert first.min() < 60 < after.mean()  # all of the near picture is bright now: there is something farther
    assert (colours.picture("depth", replace(near, opacity=torch.zeros(8, 8))) == 0).all()


def test_opacity_is_grey() -> None:
    result = ImageResult(torch.rand(4, 5, 3), torch.zeros(4, 5), torch.full((4, 5), 0.4))
    assert (ChannelColorizer().picture("opacity", result) == 102).all()


def test_motion_says_where_things_go() -> None:
    generator = torch.Generator().manual_seed(0)
    small = torch.rand(1, 3, 16, 16, generator=generator)
    ground = torch.nn.functional.interpolate(small, scale_factor=6, mode="bicubic")[0].permute(1, 2, 0).clamp(0, 1)
    patch, before, after = ground[:40, :40].flip(0), ground.clone(), ground.clone()
    before[30:70, 20:60], after[30:70, 24:64] = patch, patch
    found = motion_picture(before, after).astype(int)
    assert (found[:15] > 240).all()  # what rests is white
    inside = found[40:60, 32:50].reshape(-1, 3).mean(0)
    assert inside[0] > inside[1] + 60 and inside[0] > inside[2] + 60  # to the right: red
    assert (motion_picture(before[:8, :8], after[:8, :8]) == 255).all()


def test_colours_of_flow_turn_with_it() -> None:
    flow = np.zeros((4, 4, 2))
    flow[0, 0], flow[1, 0], flow[2, 0] = (5, 0), (0, 5), (-5, 0)
    picture = flow_picture(flow)
    assert tuple(picture[0, 0]) == (255, 0, 0) and tuple(picture[2, 0]) == (0, 255, 255)
    assert tuple(picture[3, 3]) == (255, 255, 255)


def test_columns_fill_the_window() -> None:
    red, blue = np.zeros((10, 20, 3), np.uint8), np.zeros((10, 20, 3), np.uint8)
    red[..., 0], blue[..., 2] = 255, 255
    found = side_by_side([("a", red), ("b", blue), ("nothing there", None)], (600, 300))
    assert found.shape == (300, 600, 3)
    width, _ = column_size((600, 300), 3)
    assert tuple(found[150, width // 2]) == (255, 0, 0) and tuple(found[150, 300]) == (0, 0, 255)
    assert fit_size((200, 300), (20, 10)) == (200, 100)


def test_labels_lose_their_middle() -> None:
    assert shortened("short", lambda format_initial_condition: len(format_initial_condition) <= 9) == "short"
    assert (
        shortened("a-very-long-name-0", lambda format_initial_condition: len(format_initial_condition) <= 9)
        == "a-v...e-0"
    )


def test_a_picture_as_high_as_the_window() -> None:
    wide = np.zeros((10, 40, 3), np.uint8)
    wide[:, 20:, 1] = 255
    found = match_height(wide, (50, 50))
    assert found.shape == (50, 50, 3) and found[25, 45, 1] > 250 and found[25, 5, 1] < 5


def test_covariances_turn_with_the_quaternion() -> None:
    half = 0.5**0.5
    gaussians = Gaussians(
        means=torch.tensor([[1.0, 2, 3], [0, 0, 0], [float("nan"), 0, 0]]),
        quaternions=torch.tensor([[2 * half, 0, 0, 2 * half], [1, 0, 0, 0], [1, 0, 0, 0]]),  # 90 degrees about z
        scales=torch.tensor([[3.0, 1, 2], [1, 1, 1], [1, 1, 1]]),
        opacities=torch.tensor([0.5, 1.0, 1.0]),
        harmonics=torch.zeros(3, 4, 3),
        background=(0.0, 0.0, 0.0),
    )
    centres, covariances, colours, opacities = splat_arrays(gaussians)
    assert centres.tolist() == [[1, 2, 3], [0, 0, 0]]  # what is no number is left out
    assert np.allclose(covariances[0], np.diag([1, 9, 4]), atol=1e-5)
    assert np.allclose(colours, 0.5) and opacities.tolist() == [[0.5], [1.0]]


def test_a_bead_on_a_hill_is_determined_by_x_and_a_ball_in_a_plane_by_both() -> None:
    x = np.random.default_rng(0).uniform(-1, 1, 500)
    y = np.random.default_rng(1).uniform(-1, 1, 500)
    assert free_axes(np.stack([x, 0 * x, 0.3 * x**4 - 0.2 * x**2], -1)) == (0,)
    assert free_axes(np.stack([x, 0 * x, y], -1)) == (0, 2)
    assert free_axes(np.stack([0 * x, x, 1.5 * y], -1)) == (1, 2)
    assert free_axes(np.stack([x, 0.001 * y, x], -1)) == (0,)


def test_state_controls_are_written_as_the_command_line_reads_them() -> None:
    state_controls = [StateControl("x", 0, 0, False, -1, 1, 0), StateControl("vx", 0, 0, True, -1, 1, 0)]
    assert format_initial_condition(state_controls, [0.25, -1.5]) == "x=0.25,vx=-1.5"


class PretendShown(RunSource):
    """A run that was not trained, in pictures that can be worked out by hand."""

    def __init__(self, run: PretendRun, name: str, newest: object = None) -> None:
        self.pretend = run
        super().__init__(run, name, newest=newest)  # type: ignore[arg-type]

    def render_view(self, camera: object, time: float, *, preview: bool = False) -> ImageResult:
        return self.pretend.render(camera, time)  # type: ignore[arg-type]


@pytest.fixture
def data(tmp_path: Path) -> Dataset:
    return make_dataset(tmp_path / "data")


@pytest.fixture
def source(tmp_path: Path, data: Dataset, monkeypatch: pytest.MonkeyPatch) -> PretendShown:
    run = PretendRun(tmp_path / "run", data)
    return PretendShown(run, "run")


def wanted(source: ViewerSource, **change: object) -> RenderRequest:
    view = view_of(source.frames[0].camera)
    return replace(RenderRequest(view, (WIDTH, HEIGHT), 0.3, "rgb", (0,), False, None, (1,)), **change)  # type: ignore[arg-type]


def painted(source: list[ViewerSource], wish: RenderRequest) -> np.ndarray:
    *_, picture = ViewRenderer(source, AdaptiveResolution()).render(wish, wish.window, preview=True)
    assert picture is not None
    return picture


def test_time_goes_on_past_the_last_frame(source: PretendShown) -> None:
    line = source.timeline
    assert line.end == pytest.approx(1.5 * (STEPS - 1) * DT) and line.observed_until < line.end
    said = [source.describe_time(t) for t in (0.0, 0.3, 0.35, OBSERVED_UNTIL, line.observed_until + DT, line.end)]
    assert said == ["observed", "observed", "interpolated", "observed", "forecast", "forecast"]


def test_the_slider_stops_at_the_frames_times(source: PretendShown) -> None:
    for frame in source.frames:
        assert source.snap_time(frame.time) == pytest.approx(frame.time, abs=1e-9)
    end = source.timeline.end
    assert source.snap_time(end + 1) == pytest.approx(end) and source.snap_time(end) <= end
    assert (
        source.step == pytest.approx(DT)
        and 100 < (source.timeline.end - source.timeline.start) / source.time_step < 2000
    )


def test_a_run_without_state_controls_takes_no_initial_conditions(source: PretendShown) -> None:
    from foreseen.errors import UserError

    assert source.state_controls == ()
    with pytest.raises(UserError, match="takes no initial conditions"):
        source.set_initial_condition([])


def test_truth_stands_beside_where_one_stands(source: PretendShown) -> None:
    apart = painted([source], wanted(source, truth=True))
    beside = painted([source], wanted(source, truth=True, camera_lock="left"))
    width, _ = column_size((WIDTH, HEIGHT), 2)
    right = np.s_[HEIGHT // 3 :, WIDTH - width + 2 : WIDTH - 2]
    assert apart[right].std() < beside[right].std()
    left = beside[HEIGHT // 3 :, 2 : width - 2].astype(int)
    assert np.abs(left.mean((0, 1)) - beside[right].astype(int).mean((0, 1))).max() < 12  # the run knows the truth


def test_a_data_set_shows_what_the_camera_saw(data: Dataset) -> None:
    source = DatasetSource(data)
    nothing = painted([source], wanted(source))
    seen = painted([source], wanted(source, camera_lock="left"))
    assert len(np.unique(nothing.reshape(-1, 3), axis=0)) == 1
    assert np.abs(seen.astype(int) - 255 * source.frames[6].image().numpy()).mean() < 2
    assert source.describe_time(0.3) == "observed" and source.timeline.end == pytest.approx((STEPS - 1) * DT)


def test_two_runs_stand_side_by_side(source: PretendShown) -> None:
    found = painted([source, source], wanted(source, columns=(0, 1), window=(120, 60), versions=(1, 1)))
    assert found.shape == (60, 120, 3)


def test_pictures_are_compared_from_the_cameras_of_the_run_that_is_seen(source: PretendShown, data: Dataset) -> None:
    other = DatasetSource(data)
    swapped = {"left": "right", "right": "left"}
    other.frames = tuple(replace(f, camera_id=swapped[f.camera_id]) for f in other.frames)
    wish = wanted(source, columns=(1,), truth=True, camera_lock="left", versions=(1, 1))
    seen: list[ViewerSource] = [source, other]
    at = ViewRenderer(seen, AdaptiveResolution())._camera(wish, source, (WIDTH, HEIGHT)).position
    assert torch.equal(at, next(f for f in other.frames if f.camera_id == "left").camera.position)
    assert not torch.equal(at, next(f for f in source.frames if f.camera_id == "left").camera.position)


def test_a_view_that_rests_is_rendered_in_pieces(source: PretendShown) -> None:
    renderer = ViewRenderer([source], AdaptiveResolution(rate=1000.0))
    renderer.resolution.measured(1, 1.0)
    pieces = list(renderer.render(wanted(source), (WIDTH, HEIGHT), preview=False))
    assert pieces[:-1] == [None] * (len(pieces) - 1) and len(pieces) == HEIGHT / 8
    assert pieces[-1].shape == (HEIGHT, WIDTH, 3)


def test_a_run_starts_from_its_state_controls(tmp_path: Path, source: PretendShown) -> None:
    run = source.pretend
    run.method.observes = ("sequence", "initial")
    taken = []
    run.forecast = lambda observation=None: taken.append(observation) or run  # type: ignore[method-assign, func-returns-value]
    one = PretendShown(run, "run")
    assert [k.name for k in one.state_controls] == ["x", "vx"]  # it slides along x alone
    assert all(k.low < k.value < k.high for k in one.state_controls)
    version = one.version
    one.set_initial_condition([0.5, -2.0])
    initial = taken[-1].initial
    assert initial.positions[0, 0].tolist()[0] == 0.5 and initial.velocities[0, 0].tolist()[0] == -2.0
    assert initial.positions[0, 0, 1:].isnan().all()  # an axis without a control follows
    assert one.version > version and one.sequence is None and not one.captured and one.truth is None
    assert one.describe_time(0.01) == "forecast" and one.timeline.observed_until == 0.0
    one.choose("slide")
    assert one.captured and one.describe_time(0.0) == "observed"


def test_state_controls_are_those_of_sequences_with_the_same_bodies(tmp_path: Path, data: Dataset) -> None:
    run = PretendRun(tmp_path / "run", data)
    run.method.observes = ("sequence", "initial")
    (first,) = data.sequences
    assert first.truth is not None
    alone = find_state_controls(run, data)  # type: ignore[arg-type]
    none = replace(
        first.truth, bodies=(), positions=first.truth.positions[:, :0], velocities=first.truth.velocities[:, :0]
    )
    fewer = replace(first, name="fewer", truth=none, frames=tuple(replace(f, sequence="fewer") for f in first.frames))
    run._splits.frames["train"] += fewer.frames[:4]
    assert find_state_controls(run, replace(data, sequences=(first, fewer))) == alone != ()  # type: ignore[arg-type]


def test_a_run_that_is_being_trained_is_shown_as_it_is_by_now(tmp_path: Path, data: Dataset) -> None:
    now = [PretendRun(tmp_path / "run", data)]
    one = PretendShown(now[0], "run", lambda: now[0])
    assert one.note == "run: 100 steps, 12 s of training" and not one.reload()
    later = PretendRun(tmp_path / "run", data)
    later.step, later.train_seconds = 250, 61.0
    version, now[0] = one.version, later
    assert one.reload() and not one.reload()
    assert one.note == "run: 250 steps, 1 min 01 s of training" and one.version > version
    assert one.sequence == "slide" and one.captured


def test_what_moves_is_shown_alone_where_a_run_tells_it_apart(source: PretendShown) -> None:
    forecast = SimpleNamespace(
        is_cached=lambda time: True,
        scene=lambda time: "all",
        layer=lambda time, which: which,
        ensemble=lambda times: None,
    )
    source._forecast = forecast  # type: ignore[assignment]
    version = source.version
    assert source.has_layers and source.scene(0.3) == "all"
    source.show_layer("dynamic")
    assert source.scene(0.3) == "dynamic" and source.version > version
    forecast.layer = lambda time, which: None
    assert not source.has_layers and source.scene(0.3) == "all"


def test_a_run_whose_data_is_gone_can_be_looked_at(
    tmp_path: Path, source: PretendShown, capsys: pytest.CaptureFixture[str]
) -> None:
    from foreseen.errors import UserError

    def disconnected() -> object:
        raise UserError("the data is no longer there")

    run = source.pretend
    run.splits = disconnected  # type: ignore[assignment, method-assign]
    run.info.time_range, run.info.times = (0.0, 0.7), ((0.0, 0.3, 0.7),)
    one = PretendShown(run, "run")
    assert one.frames == () and one.timeline.end == pytest.approx(1.05)
    assert [one.describe_time(t) for t in (0.3, 0.5, 0.9)] == ["observed", "interpolated", "forecast"]
    assert "shown without its data: the data is no longer there" in capsys.readouterr().err
    view = view_of(one.initial_camera)
    picture = painted([one], RenderRequest(view, (WIDTH, HEIGHT), 0.0, "rgb", (0,), False, None, (1,)))
    assert picture.shape == (HEIGHT, WIDTH, 3)
