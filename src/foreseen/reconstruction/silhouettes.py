"""Silhouettes: the moving pixels of each view, and what each camera sees of the static scene."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numba import njit

from foreseen.data.types import Frame
from foreseen.geometry.cameras import Camera
from foreseen.reconstruction.config import SilhouetteConfig


@dataclass(frozen=True)
class SilhouetteView:
    """One training frame at low resolution. `image` `[h, w, 3]` in 0..1; `camera` has the same size; `time` in 0..1
    over the observed window."""

    camera: Camera
    time: float
    image: np.ndarray

    @property
    def pose(self) -> bytes:
        """Equal for views with the same camera pose."""
        return self.camera.camera_to_world.numpy().tobytes()

    @staticmethod
    def of(frame: Frame, start: float, window: float, config: SilhouetteConfig) -> SilhouetteView:
        """Of a frame, where the observed window starts at `start` and lasts `window`, in the data set's unit of
        time."""
        factor = max(1, round(min(frame.camera.width, frame.camera.height) / config.resolution))
        small = frame.downscale(factor)
        return SilhouetteView(small.camera, (frame.time - start) / window, small.image().numpy())


@dataclass(frozen=True)
class Silhouettes:
    """What is seen to move in V views.

    Attributes:
        moving: `[h, w]` bool for each view: pixels that show something moving.
        occluders: `[h, w]` bool for each view: pixels that show something static, which may hide what moves behind
            it. Known for a uniform background only; else all False.
        static_images: `[h, w, 3]` for each view: the scene without what moves.
        uniform_background: the scene stands before the stated background colour.
    """

    moving: list[np.ndarray]
    occluders: list[np.ndarray]
    static_images: list[np.ndarray]
    uniform_background: bool

    def select(self, indices: Iterable[int]) -> Silhouettes:
        """Those of some of the views."""
        indices = list(indices)
        moving, occluders, static_images = (
            [per_view[i] for i in indices] for per_view in (self.moving, self.occluders, self.static_images)
        )
        return Silhouettes(moving, occluders, static_images, self.uniform_background)


class StaticBackgrounds:
    """What each camera pose sees of the static scene: the most frequent colour of each pixel. Before a uniform
    background: the background's colour wherever some view shows it, and everywhere if a pose has too few views.

    Attributes:
        uniform_background: the scene stands before the stated background colour.
    """

    def __init__(
        self, views: Sequence[SilhouetteView], background: tuple[float, float, float], config: SilhouetteConfig
    ) -> None:
        self.config = config
        groups: dict[bytes, list[np.ndarray]] = {}
        for view in views:
            groups.setdefault(view.camera.rays_key, []).append(view.image)
        tolerance = config.background_tolerance
        self.uniform_background = bool(
            np.mean([np.mean(np.abs(v.image - background).max(-1) < tolerance) for v in views])
            > config.min_background_share
        )
        self.background = np.array(background, np.float32)
        minimum = config.min_history_uniform if self.uniform_background else config.min_history
        self.static_images = {
            key: self._static_image(np.stack(images)) for key, images in groups.items() if len(images) >= minimum
        }

    def _static_image(self, images: np.ndarray) -> np.ndarray:
        """`[h, w, 3]`, from the `images` `[N, h, w, 3]` of one camera pose."""
        chosen = np.unique(np.linspace(0, len(images) - 1, self.config.max_history).round().astype(int))
        most_frequent = _mode_color(images[chosen], self.config.noise_tolerance)
        if not self.uniform_background:
            return most_frequent
        empty = (np.abs(images - self.background).max(-1) < self.config.background_tolerance).any(0)
        return np.where(empty[..., None], self.background, most_frequent)

    def of(self, view: SilhouetteView) -> np.ndarray | None:
        """`[h, w, 3]`: what the view's camera sees of the static scene; None where that is unknown."""
        image = self.static_images.get(view.camera.rays_key)
        return (
            np.broadcast_to(self.background, view.image.shape) if image is None and self.uniform_background else image
        )


@njit(cache=True)
def _mode_color(images: np.ndarray, tolerance: float) -> np.ndarray:
    """`[h, w, 3]`: of each pixel of `images` `[N, h, w, 3]` the colour with most others within `tolerance` in every
    channel, averaged with these. Unlike a median it never mixes moving and static colours."""
    count, height, width, _ = images.shape
    mode = np.empty((height, width, 3), np.float32)
    for y in range(height):
        for x in range(width):
            maximum = 0
            for i in range(count):
                alike, r, g, b = 0, 0.0, 0.0, 0.0
                for j in range(count):
                    if (
                        abs(images[i, y, x, 0] - images[j, y, x, 0]) < tolerance
                        and abs(images[i, y, x, 1] - images[j, y, x, 1]) < tolerance
                        and abs(images[i, y, x, 2] - images[j, y, x, 2]) < tolerance
                    ):
                        alike += 1
                        r += images[j, y, x, 0]
                        g += images[j, y, x, 1]
                        b += images[j, y, x, 2]
                if alike > maximum:
                    maximum = alike
                    mode[y, x, 0], mode[y, x, 1], mode[y, x, 2] = r / alike, g / alike, b / alike
    return mode


def find_silhouettes(
    views: Sequence[SilhouetteView], background: tuple[float, float, float], config: SilhouetteConfig
) -> Silhouettes | None:
    """The moving pixels of all views: those that differ from the static scene. None if the static scene is unknown for
    some view: its camera moves, and the background is not uniform."""
    static_backgrounds = StaticBackgrounds(views, background, config)
    moving, occluders, static_images = [], [], []
    for view in views:
        static_image = static_backgrounds.of(view)
        if static_image is None:
            return None
        static_images.append(static_image)
        moving.append(_differs(view.image, static_image, config.threshold))
        occluders.append(
            _differs(static_image, np.array(background, np.float32), config.threshold)
            & static_backgrounds.uniform_background
        )
    return Silhouettes(moving, occluders, static_images, static_backgrounds.uniform_background)


def _differs(image: np.ndarray, other: np.ndarray, threshold: float) -> np.ndarray:
    """`[h, w]` bool: some channel differs by more than the threshold."""
    apart = np.abs(image - other) > threshold
    return apart[..., 0] | apart[..., 1] | apart[..., 2]
