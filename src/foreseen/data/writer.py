"""Writes a data set: nerfstudio's transforms.json with times, layers, particles and ground truth."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from PIL import Image

from foreseen.data.layers import STANDARD_LAYERS
from foreseen.data.particles import particle_arrays
from foreseen.data.types import SPLIT_HINTS, GroundTruth
from foreseen.errors import UserError
from foreseen.geometry.cameras import Camera

WRITER_VERSION = 1
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
BODY = re.compile(r"(?! )[\w .-]{1,64}(?<! )")
BODY_WORDS = "1 to 64 letters, digits, spaces (not at the ends), '.', '_', '-'"
"""Allowed names of bodies, which tables, plots and pages show."""


@dataclass(frozen=True)
class WrittenFrame:
    """One picture, its camera and its layers.

    Attributes:
        camera: without NDC; its near and far are not stored (the data set states one pair).
        image: `[H, W, 3 or 4]` uint8, alpha straight.
        mask: `[H, W]` instance ids in 0..65535, 0 where nothing moves.
        depth: `[H, W]` float32 along z in scene units, 0 where nothing is hit.
        flow: `[H, W, 2]` float32, pixels moved by until the next frame of the track (layer `flow_forward`).
        track: the physical camera, for one that moves; empty: `camera_id` is a fixed camera.
        layers: further layers by name: those of `STANDARD_LAYERS`, or features `[H, W]` or `[H, W, C]`.
    """

    camera: Camera
    camera_id: str
    time: float
    image: np.ndarray
    split: str | None = None
    mask: np.ndarray | None = None
    depth: np.ndarray | None = None
    flow: np.ndarray | None = None
    track: str = ""
    layers: Mapping[str, np.ndarray] = field(default_factory=dict)


class DatasetWriter:
    """Writes frame by frame; the folder appears under its name when the `with` block ends without an error.

        with DatasetWriter(out, near=1, far=5, bounds=bounds, background=(1, 1, 1), time_unit="s") as writer:
            writer.add_sequence("run-0", truth=truth, backgrounds={"left": picture})
            writer.add_frame("run-0", WrittenFrame(camera, "left", time, image))

    Until then everything lies in a temporary folder beside `out`, which an error removes. Names of sequences
    and cameras become file names: letters, digits, `.`, `_`, `-`.

    Raises:
        UserError: `out` exists and is not an empty folder, or nothing was written.
    """

    def __init__(
        self,
        out: Path | str,
        *,
        near: float,
        far: float,
        bounds: Any,
        background: tuple[float, float, float] = (1.0, 1.0, 1.0),
        time_unit: str = "s",
        length_unit: str = "m",
        description: str = "",
    ) -> None:
        self.out = Path(out)
        self._block: dict[str, Any] = {
            "writer_version": WRITER_VERSION,
            "name": self.out.name,
            "description": description,
            "time_unit": time_unit,
            "length_unit": length_unit,
            "background": [float(x) for x in background],
            "near": float(near),
            "far": float(far),
            "bounds": np.asarray(bounds, dtype=np.float64).reshape(2, 3).tolist(),
            "sequences": {},
        }
        self._frames: list[dict[str, Any]] = []
        self._folder = Path()

    def __enter__(self) -> DatasetWriter:
        if self.out.exists() and (not self.out.is_dir() or any(self.out.iterdir())):
            raise UserError(f"{self.out} exists and is not empty: give another --out or remove it first")
        self.out.parent.mkdir(parents=True, exist_ok=True)
        self._folder = Path(tempfile.mkdtemp(prefix=f".{self.out.name}.partial-", dir=self.out.parent))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._finish()
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)

    def add_sequence(
        self,
        name: str,
        *,
        truth: GroundTruth | None = None,
        split: str | None = None,
        backgrounds: dict[str, np.ndarray] | None = None,
        particles: Mapping[str, np.ndarray] | None = None,
    ) -> None:
        """Announces a sequence. `split` "test" marks new initial conditions; `backgrounds` maps camera ids to
        pictures `[H, W, 3 or 4]` uint8 without the moving objects; `particles` has the arrays `times`, `positions`,
        `object_ids` and, where they are known, `velocities` (see `foreseen.data.particles.Particles`)."""
        _check_name(name)
        _check_split(split)
        entry: dict[str, Any] = {"split": split, "backgrounds": {}}
        for camera_id, picture in (backgrounds or {}).items():
            _check_name(camera_id)
            entry["backgrounds"][camera_id] = self._picture(f"backgrounds/{name}/{camera_id}.png", picture)
        if truth is not None:
            for body in truth.bodies:
                if not BODY.fullmatch(body):
                    raise ValueError(f"'{body}' cannot name a body: {BODY_WORDS}")
            entry["truth"] = self._truth(name, truth)
        if particles is not None:
            entry["particles"] = f"particles/{name}.npz"
            np.savez_compressed(self._place(entry["particles"]), **particle_arrays(**particles))  # type: ignore[arg-type]
        self._block["sequences"][name] = entry

    def add_frame(self, sequence: str, frame: WrittenFrame) -> None:
        """Writes one frame of an announced sequence."""
        if sequence not in self._block["sequences"]:
            raise ValueError(f"add_sequence({sequence!r}) comes first")
        _check_name(frame.camera_id)
        _check_split(frame.split)
        camera = frame.camera
        stem = f"{sequence}/{frame.camera_id}_{len(self._frames):06d}"
        matrix = camera.camera_to_world.detach().cpu().double().numpy().copy()
        matrix[:, 1:3] *= -1  # OpenCV axes -> OpenGL axes, as nerfstudio has them
        entry: dict[str, Any] = {
            "file_path": self._picture(f"images/{stem}.png", frame.image, camera),
            "transform_matrix": matrix.tolist(),
            "fl_x": float(camera.fx), "fl_y": float(camera.fy),
            "cx": float(camera.cx), "cy": float(camera.cy),
            "w": camera.width, "h": camera.height,
            "time": float(frame.time), "sequence": sequence, "camera_id": frame.camera_id,
        }  # fmt: skip
        if frame.split is not None:
            entry["split"] = frame.split
        if frame.mask is not None:
            entry["instance_mask_path"] = self._mask(f"masks/{stem}.png", frame.mask)
        if frame.depth is not None:
            entry["depth_file_path"] = self._array(f"depth/{stem}.npz", depth=frame.depth)
        if frame.flow is not None:
            entry["flow_file_path"] = self._array(f"flow/{stem}.npz", flow=frame.flow)
        if frame.track:
            _check_name(frame.track)
            entry["track"] = frame.track
        layers = {name: self._layer(name, stem, array) for name, array in frame.layers.items()}
        self._frames.append(entry | ({"layers": layers} if layers else {}))

    def _finish(self) -> None:
        if not self._frames:
            raise UserError(f"nothing to write to {self.out}: a data set needs at least one frame")
        document = {"camera_model": "OPENCV", "foreseen": self._block, "frames": self._frames}
        (self._folder / "transforms.json").write_text(json.dumps(document, indent=1, allow_nan=False) + "\n")
        self._folder.chmod(0o755)  # temporary folders are private
        if self.out.is_dir():
            self.out.rmdir()
        self._folder.replace(self.out)

    def _place(self, relative: str) -> Path:
        path = self._folder / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def _picture(self, relative: str, picture: np.ndarray, camera: Camera | None = None) -> str:
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] not in (3, 4):
            raise ValueError(f"{relative}: a picture is uint8 [H, W, 3 or 4], not {picture.dtype} {picture.shape}")
        if camera is not None and picture.shape[:2] != (camera.height, camera.width):
            raise ValueError(f"{relative}: {picture.shape[:2]} is not the camera's size")
        Image.fromarray(np.ascontiguousarray(picture)).save(self._place(relative), compress_level=4)
        return relative

    def _mask(self, relative: str, mask: np.ndarray) -> str:
        if mask.min() < 0 or mask.max() > 65535:
            raise ValueError(f"{relative}: instance ids lie in 0..65535")
        kind = np.uint8 if mask.max() < 256 else np.uint16
        Image.fromarray(np.ascontiguousarray(mask.astype(kind))).save(self._place(relative), compress_level=4)
        return relative

    def _array(self, relative: str, **arrays: np.ndarray) -> str:
        np.savez_compressed(self._place(relative), **{k: v.astype(np.float32) for k, v in arrays.items()})  # type: ignore[arg-type]
        return relative

    def _layer(self, name: str, stem: str, array: np.ndarray) -> dict[str, str]:
        """Writes a layer; returns its element of the frame's "layers"."""
        _check_name(name)
        decoder = STANDARD_LAYERS.get(name, "features")
        if decoder == "ids":
            return {"path": self._mask(f"layers/{name}/{stem}.png", array), "decoder": decoder}
        if decoder == "flags":
            return {"path": self._mask(f"layers/{name}/{stem}.png", array > 0), "decoder": decoder}
        return {"path": self._array(f"layers/{name}/{stem}.npz", **{decoder: array}), "decoder": decoder}

    def _truth(self, name: str, truth: GroundTruth) -> dict[str, Any]:
        arrays = {"times": truth.times, "positions": truth.positions, "velocities": truth.velocities}
        arrays |= {f"state.{key}": value for key, value in truth.state.items()}
        np.savez(self._place(f"truth/{name}.npz"), **arrays)  # type: ignore[arg-type]
        return {
            "dynamics": truth.dynamics,
            "constants": {key: float(value) for key, value in truth.constants.items()},
            "bodies": list(truth.bodies),
            "arrays": f"truth/{name}.npz",
        }


def _check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise ValueError(f"'{name}' cannot name files: letters, digits, '.', '_', '-'")


def _check_split(split: str | None) -> None:
    if split is not None and split not in SPLIT_HINTS:
        raise ValueError(f"split '{split}' is none of {SPLIT_HINTS}")
