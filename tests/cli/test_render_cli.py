"""`foreseen render` from the words to the clip."""

import json
from pathlib import Path

import pytest

import foreseen.runs
from foreseen.cli import main
from sliding_square import HEIGHT, WIDTH, PretendRun, make_dataset


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> PretendRun:
    run = PretendRun(tmp_path / "run", make_dataset(tmp_path / "data"))
    run.path.mkdir()
    monkeypatch.setattr(foreseen.runs, "load_run", lambda folder, checkpoint=None, device="cpu": run)
    return run


def shape(path: Path) -> tuple[int, tuple[int, ...]]:
    import av

    with av.open(str(path)) as container:
        frames = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    return len(frames), frames[0].shape


def test_renders_past_the_window_into_the_run(run: PretendRun, capsys: pytest.CaptureFixture[str]) -> None:
    main(["render", str(run.path), "--path", "train:left", "--times", "0:3:6"])
    assert shape(run.path / "renders" / "train-left-rgb.mp4") == (6, (HEIGHT, WIDTH, 3))
    assert max(time for _, time in run.rendered) == 3.0
    assert "train-left-rgb.mp4" in capsys.readouterr().out


@pytest.mark.parametrize("channel", ["rgb", "depth", "side-by-side"])
def test_channels_to_a_folder(run: PretendRun, tmp_path: Path, channel: str) -> None:
    out = tmp_path / "pictures"
    main(["render", str(run.path), "--times", "0:1:3", "--channel", channel, "--out", str(out)])
    assert len(list(out.glob("frame-*.png"))) == 3


def test_paths_and_sizes(run: PretendRun, tmp_path: Path) -> None:
    for path in ("orbit", "spiral"):
        out = tmp_path / f"{path}.mp4"
        main(
            [
                "render",
                str(run.path),
                "--path",
                path,
                "--times",
                "0.5:0.5:3",
                "--size",
                "20x12",
                "--out",
                str(out),
            ]
        )
        assert shape(out) == (3, (12, 20, 3))


def saved_path(folder: Path) -> Path:
    """Two seconds in which the camera goes to the right and time goes into the forecast."""
    views = [(0.0, 0.0, 0.0), (2.0, 3.0, 0.5)]
    poses = [[[1, 0, 0, x], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]] for _, _, x in views]
    listed = [{"at": at, "time": t, "fov": 40.0, "camera_to_world": m} for (at, t, _), m in zip(views, poses)]
    file = folder / "flight.json"
    file.write_text(json.dumps({"format": "foreseen camera path", "version": 1, "aspect": 1.5, "views": listed}))
    return file


def test_a_path_from_the_viewer(run: PretendRun, tmp_path: Path) -> None:
    file = saved_path(tmp_path)
    main(["render", str(run.path), "--path", str(file), "--fps", "4"])
    assert shape(run.path / "renders" / "flight-rgb.mp4") == (9, (HEIGHT, HEIGHT + HEIGHT // 2, 3))
    assert [time for _, time in run.rendered] == pytest.approx([3 * i / 8 for i in range(9)])


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--times", "0:1:3"], "has the times of its views: leave --times out."),
        (["--channel", "side-by-side"], "give --path train:CAMERA_ID, not"),
    ],
)
def test_a_path_from_the_viewer_has_its_own_times(
    run: PretendRun, tmp_path: Path, words: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["render", str(run.path), "--path", str(saved_path(tmp_path)), *words])
    assert line in capsys.readouterr().err and run.rendered == []


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--times", "0:1"], "--times '0:1': write START:END:COUNT"),
        (["--path", "absent.json"], "--path absent.json is no file"),
        (["--path", "spirl"], "unknown path 'spirl': did you mean 'spiral'?"),
        (["--path", "train:lefd"], "no camera 'lefd': did you mean 'left'?"),
        (["--path", "orbit", "--channel", "side-by-side"], "give --path train:CAMERA_ID, not orbit"),
        (["--size", "40"], "--size '40': write WIDTHxHEIGHT"),
        (["--size", "20x12", "--downscale", "2"], "--size and --downscale say the same thing"),
        (["--downscale", "0"], "--downscale 0: give a whole number, 1 or more."),
        (["--fps", "0"], "--fps 0.0: give a number above 0"),
        (["--crf", "99"], "--crf 99: give a whole number from 0 to 51."),
        (["--out", "clip.gif"], "clip.gif: a clip is an .mp4 or a folder of PNGs"),
    ],
)
def test_errors_are_one_line(run: PretendRun, words: list[str], line: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["render", str(run.path), *words])
    assert end.value.code == 2
    last = capsys.readouterr().err.strip().splitlines()[-1]
    assert last.startswith("foreseen: error: ") and line in last
    assert run.rendered == []


def test_a_folder_without_a_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        main(["render", str(tmp_path / "nowhere")])
    assert end.value.code == 2
    err = capsys.readouterr().err
    assert "nowhere holds no run" in err and len(err.strip().splitlines()) == 1
