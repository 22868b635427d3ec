"""Pictures without camera poses: a video file, or a folder with one video or with the pictures of one."""

from __future__ import annotations

from pathlib import Path

import torch

from foreseen.data.images import ImageCache
from foreseen.data.picture_files import VIDEO_ENDINGS, video_frame, video_times
from foreseen.data.readers.forward_facing import VIDEO, common_size, evenly_spaced, pictures_in
from foreseen.data.tracks import MOVING_TRACK
from foreseen.data.types import Dataset, Frame, Sequence
from foreseen.errors import UserError

SEQUENCE = "sequence-0"


def read(
    path: Path, *, background: tuple[float, float, float] | None, cache: ImageCache, fps: float | None = None
) -> Dataset:
    """One sequence of one camera whose pose is unknown.

    Times are in seconds from the first frame: of a video file its own timestamps, unless `fps` says otherwise. Pictures
    in a folder are taken in the order of their names; without `fps` they count as evenly spaced from 0 to 1.

    Raises:
        UserError: no video or picture, several videos, pictures of unequal size, or a rate that is not above 0.
    """
    if fps is not None and not 0 < fps < float("inf"):
        raise UserError(f"--fps {fps:g}: give a number of frames per second above 0")
    video = _video(path)
    files = [video] * len(video_times(video)) if video is not None else pictures_in(path)
    times, warnings = _times(video, len(files), fps)
    on = background or (1.0, 1.0, 1.0)
    size = _video_size(video) if video is not None else common_size(files)
    frames = tuple(
        Frame(
            SEQUENCE, None, MOVING_TRACK, time, file, background=on, cache=cache,
            image_index=None if video is None else index, stored_size=size,
        )
        for index, (file, time) in enumerate(zip(files, times, strict=True))
    )  # fmt: skip
    return Dataset(
        path=path,
        name=path.resolve().stem if path.is_file() else path.resolve().name,
        format="video",
        sequences=(Sequence(SEQUENCE, frames),),
        background=on,
        near=0.0,
        far=1.0,
        bounds=torch.tensor([[0.0, 0.0, 0.0], [1.0, 1.0, 1.0]]),
        time_unit="durations of the capture" if warnings else "s",
        warnings=warnings,
    )


def _video(path: Path) -> Path | None:
    """The video that `path` is or holds; None for a folder of pictures."""
    if path.is_file():
        return path
    videos = sorted(p for p in path.iterdir() if p.suffix.lower() in VIDEO_ENDINGS)
    if len(videos) > 1:
        raise UserError(f"{path} has {len(videos)} videos: give the path of one, such as {videos[0]}")
    return videos[0] if videos else None


def _video_size(video: Path) -> tuple[int, int]:
    height, width, _ = video_frame(video, 0).shape
    return width, height


def _times(video: Path | None, count: int, fps: float | None) -> tuple[list[float], tuple[str, ...]]:
    if fps is not None:
        return [index / fps for index in range(count)], ()
    if video is not None:
        return [time for _, time in video_times(video)], ()
    return evenly_spaced(count), (f"no frame rate is stated: {VIDEO}; --fps says otherwise",)
