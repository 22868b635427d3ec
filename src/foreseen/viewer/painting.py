"""What a browser is to show, and its picture: one view, or several things beside one another."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from foreseen.data.types import Frame
from foreseen.export.compose import PAPER, to_bytes
from foreseen.export.shots import filmed_at
from foreseen.geometry.cameras import Camera
from foreseen.render import ImageResult
from foreseen.scenes.gaussians import Gaussians
from foreseen.viewer.cameras import View
from foreseen.viewer.channels import Channel, Colours, looked_at
from foreseen.viewer.layout import as_high, column_size, fitting, side_by_side
from foreseen.viewer.resolution import Resolution, Size
from foreseen.viewer.shown import DataShown, Shown

TRUTH = "truth"


@dataclass(frozen=True)
class Wanted:
    """All that decides how a picture looks.

    Attributes:
        view: from where.
        window: the browser's, in pixels.
        time: a moment.
        channel: what is shown of it.
        columns: which of the things that are shown.
        truth: what was filmed is put beside.
        standing: the data set's camera whose place was taken, None anywhere else.
        versions: of all things that are shown.
    """

    view: View
    window: Size
    time: float
    channel: Channel
    columns: tuple[int, ...]
    truth: bool
    standing: str | None
    versions: tuple[int, ...]

    @property
    def alone(self) -> bool:
        """One picture fills the window, and what the browser draws lies in it as it should."""
        return len(self.columns) == 1 and not self.truth


class Painter:
    """Paints what is wanted, in a size that it is told, and measures how long that takes."""

    def __init__(self, shown: Sequence[Shown], resolution: Resolution) -> None:
        self.shown, self.resolution = shown, resolution
        self.colours = Colours()

    def gaussians(self, want: Wanted) -> Gaussians | None:
        """What is wanted, where it is Gaussians and nothing else: what the browser can splat itself."""
        if not want.alone or want.channel != "rgb":
            return None
        scene = self.shown[want.columns[0]].made(want.time)
        return scene if isinstance(scene, Gaussians) else None

    def paint(self, want: Wanted, size: Size, *, steadily: bool) -> Iterator[np.ndarray | None]:
        """None while it is at it, then the picture `[H, W, 3]` uint8.

        Args:
            size: of what is rendered, in the window's form.
            steadily: in one go and as a preview: things move; otherwise None comes after each frame's time, so that one
                can stop it.
        """
        if want.alone:
            picture = None
            for picture in self._column(want, want.columns[0], size, steadily):
                if picture is None:
                    yield None
            yield _plain(size) if picture is None else picture
            return
        panels: list[tuple[str, np.ndarray | None]] = []
        count = len(want.columns) + want.truth
        for index in want.columns:
            picture = None
            for picture in self._column(want, index, column_size(size, count), steadily):
                if picture is None:
                    yield None
            panels.append((self.shown[index].name, picture))
        if want.truth:
            panels.append(self._truth(want))
        yield side_by_side(panels, self.resolution.finest(want.window))

    def _column(self, want: Wanted, index: int, size: Size, steadily: bool) -> Iterator[np.ndarray | None]:
        shown = self.shown[index]
        if isinstance(shown, DataShown):
            frame = self.filmed(want, shown)
            yield _plain(size) if frame is None else as_high(to_bytes(frame.image()), size)
            return
        camera = self._camera(want, shown, size)
        results: list[ImageResult] = []
        ahead = [want.time, want.time + shown.step] if want.channel == "motion" else [want.time]
        for moment in ahead:
            for result in self._look(shown, camera, moment, steadily):
                if result is None:
                    yield None
                else:
                    results.append(result)
        yield self.colours.picture(want.channel, *results)

    def _look(self, shown: Shown, camera: Camera, moment: float, steadily: bool) -> Iterator[ImageResult | None]:
        spent = time.perf_counter()
        lines = self._band(camera, steadily)
        for result in looked_at(lambda c: shown.look(c, moment, preview=steadily), camera, lines):
            if result is None:
                self.resolution.measured(lines * camera.width, time.perf_counter() - spent, moving=False)
                yield None
                spent = time.perf_counter()
                continue
            if steadily:
                self.resolution.measured(camera.width * camera.height, time.perf_counter() - spent)
            yield result

    def _band(self, camera: Camera, steadily: bool) -> int:
        """Lines that are rendered in one go."""
        cost = self.resolution.resting_seconds_per_pixel or self.resolution.seconds_per_pixel
        if steadily or cost is None:
            return camera.height
        return max(int(1 / (self.resolution.rate * cost * camera.width)), 8)

    def _camera(self, want: Wanted, shown: Shown, size: Size) -> Camera:
        """Where one stands, exactly as the data's camera where pictures are compared."""
        if want.standing is not None and not want.alone:
            taken = next((f.camera for f in self.shown[want.columns[0]].frames if f.camera_id == want.standing), None)
            if taken is not None:
                own = shown.reference
                return replace(taken.resize(*fitting(size, (taken.width, taken.height))), near=own.near, far=own.far)
        # A narrower column sees as far to the sides as the window would, and more above and below.
        narrower = max(want.window[0] / want.window[1] / (size[0] / size[1]), 1.0)
        fov = 2 * math.atan(math.tan(want.view.fov / 2) * narrower)
        return replace(want.view, fov=fov).camera(size, shown.reference)

    def filmed(self, want: Wanted, shown: Shown) -> Frame | None:
        """What the camera in whose place one stands saw at the wanted time."""
        if want.standing is None or not shown.filmed:
            return None
        own = [f for f in shown.frames if f.camera_id == want.standing]
        return filmed_at(own, want.time, shown.frames)

    def _truth(self, want: Wanted) -> tuple[str, np.ndarray | None]:
        first = self.shown[want.columns[0]]
        if not first.filmed:
            return f"{TRUTH}: not filmed, it begins as you said", None
        if want.standing is None:
            return f"{TRUTH}: stand in a camera to see it", None
        frame = self.filmed(want, first)
        return (f"{TRUTH}: not filmed then", None) if frame is None else (TRUTH, to_bytes(frame.image()))


def _plain(size: Size) -> np.ndarray:
    return np.full((size[1], size[0], 3), PAPER, np.uint8)


def splat_arrays(gaussians: Gaussians) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """As viser takes them: centres `[N, 3]`, covariances `[N, 3, 3]`, colours `[N, 3]` and opacities `[N, 1]` in 0..1.

    Colours are those of degree 0: the browser knows no harmonics. What is not finite is left out.
    """
    from scipy.spatial.transform import Rotation

    means, turns, scales, opacities = (
        x.detach().cpu().double().numpy()
        for x in (gaussians.means, gaussians.quaternions, gaussians.scales, gaussians.opacities)
    )
    colours = 0.5 + 0.28209479177387814 * gaussians.harmonics[:, 0].detach().cpu().double().numpy()
    good = np.isfinite(np.concatenate([means, turns, scales, opacities[:, None], colours], -1)).all(-1)
    good &= np.linalg.norm(turns, axis=-1) > 0
    axes = Rotation.from_quat(turns[good], scalar_first=True).as_matrix() * scales[good][:, None, :]
    return (
        means[good].astype(np.float32),
        (axes @ axes.transpose(0, 2, 1)).astype(np.float32),
        np.clip(colours[good], 0, 1).astype(np.float32),
        np.clip(opacities[good][:, None], 0, 1).astype(np.float32),
    )
