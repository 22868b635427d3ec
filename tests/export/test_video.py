"""Clips written and read back."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from foreseen.errors import UserError
from foreseen.export.video import VideoWriter


def frames(count: int, height: int = 48, width: int = 64) -> list[np.ndarray]:
    """A bright bar that moves over saturated stripes."""
    out = []
    for index in range(count):
        frame = np.zeros((height, width, 3), np.uint8)
        frame[:, :, 0], frame[height // 2 :, :, 2] = 200, 180
        frame[:, 4 + 8 * index : 12 + 8 * index] = (20, 220, 60)
        out.append(frame)
    return out


def read(path: Path) -> list[np.ndarray]:
    import av

    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


def test_mp4_keeps_count_size_and_colours(tmp_path: Path) -> None:
    written = frames(5)
    with VideoWriter(tmp_path / "clip.mp4", fps=12, crf=10) as video:
        for frame in written:
            video.add(frame)
    found = read(tmp_path / "clip.mp4")
    assert len(found) == 5 and found[0].shape == (48, 64, 3)
    for before, after in zip(written, found):
        # Away from edges, which yuv420p blurs: the colours are those that went in.
        assert np.abs(before[10:14, 40:60].astype(int) - after[10:14, 40:60]).mean() < 12
    assert [p.name for p in tmp_path.iterdir()] == ["clip.mp4"]


def test_mp4_says_what_players_need(tmp_path: Path) -> None:
    import av

    with VideoWriter(tmp_path / "clip.mp4", fps=12.5) as video:
        video.add(frames(1)[0])
    with av.open(str(tmp_path / "clip.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert float(stream.average_rate) == pytest.approx(12.5)
        assert int(stream.codec_context.colorspace) == 1  # BT.709


def test_odd_sizes_gain_a_row_and_a_column(tmp_path: Path) -> None:
    with VideoWriter(tmp_path / "odd.mp4") as video:
        for frame in frames(2, 33, 51):
            video.add(frame)
    assert read(tmp_path / "odd.mp4")[0].shape == (34, 52, 3)


def test_folder_of_pngs_is_exact(tmp_path: Path) -> None:
    written = frames(3, 33, 51)
    with VideoWriter(tmp_path / "pictures") as video:
        for frame in written:
            video.add(frame)
    names = sorted(p.name for p in (tmp_path / "pictures").iterdir())
    assert names == ["frame-00000.png", "frame-00001.png", "frame-00002.png"]
    for name, frame in zip(names, written):
        assert np.array_equal(np.asarray(Image.open(tmp_path / "pictures" / name)), frame)


@pytest.mark.parametrize("name", ["clip.mp4", "pictures"])
def test_an_error_leaves_nothing_behind(tmp_path: Path, name: str) -> None:
    with pytest.raises(RuntimeError, match="stop"), VideoWriter(tmp_path / name) as video:
        video.add(frames(1)[0])
        raise RuntimeError("stop")
    assert list(tmp_path.iterdir()) == []


def test_an_earlier_clip_survives_an_error(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"earlier")
    with pytest.raises(RuntimeError), VideoWriter(tmp_path / "clip.mp4") as video:
        video.add(frames(1)[0])
        raise RuntimeError("stop")
    assert (tmp_path / "clip.mp4").read_bytes() == b"earlier"


def test_bad_targets_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"clip\.avi: a clip is an \.mp4 or a folder of PNGs"):
        VideoWriter(tmp_path / "clip.avi")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "precious.txt").touch()
    with pytest.raises(UserError, match="full exists and is not an empty folder: give another --out"):
        VideoWriter(tmp_path / "full")
    (tmp_path / "folder.mp4").mkdir()
    with pytest.raises(UserError, match=r"folder\.mp4 is a folder"):
        VideoWriter(tmp_path / "folder.mp4")
    with pytest.raises(UserError, match="no frame to write"), VideoWriter(tmp_path / "none.mp4"):
        pass
    assert sorted(p.name for p in tmp_path.iterdir()) == ["folder.mp4", "full"]


def test_a_full_disk_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with (
        pytest.raises(UserError, match=r"no space left on the disk to write .*pictures"),
        VideoWriter(tmp_path / "pictures") as v,
    ):
        v.add(frames(1)[0])
    assert list(tmp_path.iterdir()) == []
