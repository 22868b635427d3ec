"""A sequence of pictures as an mp4 or a folder of PNGs, written completely or not at all."""

from __future__ import annotations

import shutil
import tempfile
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np

from foreseen.errors import UserError
from foreseen.runs.files import full_disk_is_named

FPS = 24.0
CRF = 18
"""Quality of H.264: lower is better and the file larger; 18 is visually almost lossless."""
# Matrix, primaries and transfer of BT.709, as H.264 numbers them: without them players guess from the size.
_BT709 = 1


class VideoWriter:
    """Writes frames `[H, W, 3]` uint8 of one size to `path`: an mp4 (H.264, yuv420p), else a folder of PNGs.

        with VideoWriter(Path("clip.mp4"), fps=24) as video:
            video.add(frame)

    Everything is written beside `path` and renamed when the block ends without an error. In an mp4 the last row or
    column of odd sizes is repeated (yuv420p needs even ones). An mp4 of the same name is replaced.

    Raises:
        UserError: another file ending, a folder that is not empty, no frame, or a full disk.
    """

    def __init__(self, path: Path, *, fps: float = FPS, crf: int = CRF) -> None:
        self.path = Path(path)
        self.fps, self.crf = fps, crf
        self.count = 0
        self._mp4 = self.path.suffix.lower() == ".mp4"
        self._check_target()
        self._container: Any = None
        self._stream: Any = None

    def _check_target(self) -> None:
        if self._mp4:
            if self.path.is_dir():
                raise UserError(f"{self.path} is a folder: give another --out.")
        elif self.path.suffix:
            raise UserError(
                f"{self.path}: a clip is an .mp4 or a folder of PNGs; end the name in .mp4, or in nothing for a folder."
            )
        elif self.path.exists() and (not self.path.is_dir() or any(self.path.iterdir())):
            raise UserError(f"{self.path} exists and is not an empty folder: give another --out or remove it first.")

    def __enter__(self) -> VideoWriter:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._folder = Path(tempfile.mkdtemp(prefix=f".{self.path.name}.partial-", dir=self.path.parent))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with full_disk_is_named(self.path):
                self._close()
            if kind is None:
                self._finish()
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def add(self, frame: np.ndarray) -> None:
        """Appends one frame `[H, W, 3]` uint8."""
        if frame.dtype != np.uint8 or frame.ndim != 3 or frame.shape[2] != 3:
            raise ValueError(f"a frame is uint8 [H, W, 3], not {frame.dtype} {frame.shape}")
        with full_disk_is_named(self.path):
            if self._mp4:
                self._encode(frame)
            else:
                self._save(frame)
        self.count += 1

    def _save(self, frame: np.ndarray) -> None:
        from PIL import Image

        Image.fromarray(frame).save(self._folder / f"frame-{self.count:05d}.png")

    def _encode(self, frame: np.ndarray) -> None:
        import av

        frame = _even(frame)
        if self._stream is None:
            self._open(frame.shape[1], frame.shape[0])
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        picture = picture.reformat(format="yuv420p", dst_colorspace=_BT709, src_color_range=2, dst_color_range=1)
        picture.pts = self.count
        self._container.mux(self._stream.encode(picture))

    def _open(self, width: int, height: int) -> None:
        import av

        self._container = av.open(str(self._folder / "clip.mp4"), "w", options={"movflags": "+faststart"})
        rate = Fraction(self.fps).limit_denominator(1001)
        stream = self._container.add_stream("libx264", rate=rate, options={"crf": str(self.crf), "preset": "medium"})
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        context = stream.codec_context
        context.colorspace = context.color_primaries = context.color_trc = _BT709
        context.color_range = 1
        self._stream = stream

    def _close(self) -> None:
        if self._container is not None:
            self._container.mux(self._stream.encode(None))
            self._container.close()

    def _finish(self) -> None:
        if self.count == 0:
            raise UserError(f"no frame to write to {self.path}.")
        if self._mp4:
            (self._folder / "clip.mp4").replace(self.path)
            return
        self._folder.chmod(0o755)  # temporary folders are private
        if self.path.is_dir():
            self.path.rmdir()
        self._folder.rename(self.path)


def _even(frame: np.ndarray) -> np.ndarray:
    """The frame with its last row and column repeated where the size is odd."""
    return np.pad(frame, ((0, frame.shape[0] % 2), (0, frame.shape[1] % 2), (0, 0)), mode="edge")
