"""What files of Gaussians share: checks before writing and after reading, and how numbers are stored."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from foreseen.errors import UserError
from foreseen.scenes.gaussians import DEGREES, Gaussians
from foreseen.scenes.moving_gaussians import ATTRIBUTES, MovingGaussians

Array = np.ndarray

SH_0 = 0.28209479177387814
"""The constant spherical harmonic, 1 / (2 sqrt(pi))."""

BLACK = (0.0, 0.0, 0.0)
"""Background of a file that states none, as in most viewers."""

TINY = float(np.finfo(np.float32).tiny)
MIN_QUATERNION_NORM = 1e-18
"""A shorter quaternion cannot be normalised in single precision."""

COEFFICIENTS = {(degree + 1) ** 2: degree for degree in DEGREES}
"""Number of harmonics of one colour -> degree."""

NO_DEGREE_4 = "spherical harmonics of degree 4 are left out: degree 3 is the highest that is rendered"


@dataclass(frozen=True)
class SplatFile:
    """What a file of Gaussians holds.

    Attributes:
        path: the file.
        format: what it is, in words.
        scene: Gaussians at one time, or moving ones.
        notes: what was changed while reading, one sentence each.
    """

    path: Path
    format: str
    scene: Gaussians | MovingGaussians
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class GaussianArrays:
    """The tensors of `Gaussians` as float32 arrays of the same shapes."""

    means: Array
    quaternions: Array
    scales: Array
    opacities: Array
    harmonics: Array
    extras: Array | None = None

    @property
    def count(self) -> int:
        """How many Gaussians."""
        return len(self.means)


def require_some(path: Path, count: int) -> None:
    """Raises `UserError` where a file holds no Gaussian."""
    if count < 1:
        raise UserError(f"{path} holds no Gaussians: export it again.")


def require_finite(path: Path, field: str, values: Array) -> Array:
    """`values` `[N, ...]`. Raises `UserError` that names file, field and the first Gaussian that is not finite."""
    good = np.isfinite(values)
    if not good.all():
        bad = np.argwhere(~good)
        raise UserError(
            f"{path}: {field} of Gaussian {bad[0][0]} is {values[tuple(bad[0])]} ({len(bad)} such numbers): "
            "the file is damaged or its training went wrong; export it again without such Gaussians."
        )
    return values


def read_scales(path: Path, field: str, logarithms: Array, notes: list[str]) -> Array:
    """Standard deviations `[N, 3]` from their natural logarithms; 0 becomes the smallest normal number."""
    with np.errstate(over="ignore"):
        scales = np.exp(logarithms.astype(np.float64)).astype(np.float32)
    if not np.isfinite(scales).all():
        row = np.argwhere(~np.isfinite(scales))[0]
        raise UserError(
            f"{path}: {field} of Gaussian {row[0]} is {logarithms[tuple(row)]:g}, the logarithm of a scale that is too "
            "large for any scene: export it with logarithms of scales."
        )
    return lift_scales(scales, notes)


def lift_scales(scales: Array, notes: list[str]) -> Array:
    """Scales above 0; adds a note where some were 0."""
    flat = scales < TINY
    if flat.any():
        notes.append(f"{int(flat.any(-1).sum())} Gaussians are flat (a scale of 0, read as {TINY:.1e})")
    return np.maximum(scales, np.float32(TINY))


def read_quaternions(path: Path, field: str, quaternions: Array, notes: list[str]) -> Array:
    """Quaternions `[N, 4]` that can be normalised; those of length 0 become "no rotation"."""
    with np.errstate(over="ignore"):
        lengths = np.sqrt(np.square(quaternions).sum(-1, dtype=np.float32))
    require_finite(path, f"the length of {field}", lengths)
    none = lengths < MIN_QUATERNION_NORM
    if none.any():
        notes.append(f"{int(none.sum())} Gaussians have a quaternion of length 0, read as no rotation")
        quaternions = np.where(none[:, None], np.array([1, 0, 0, 0], np.float32), quaternions)
    return quaternions


def sigmoid(logits: Array) -> Array:
    """float32 opacities of logits, infinite ones included; computed in double precision."""
    with np.errstate(over="ignore"):
        return (1 / (1 + np.exp(-logits.astype(np.float64)))).astype(np.float32)


def logit(opacities: Array) -> Array:
    """float32 logits whose `sigmoid` is the opacity again, as near as float32 logits lie; finite for 0 and 1."""
    exact = opacities.astype(np.float64)
    with np.errstate(divide="ignore"):
        return np.clip(np.log(exact) - np.log1p(-exact), -150, 20).astype(np.float32)


def to_gaussians(
    columns: GaussianArrays, background: tuple[float, float, float], antialiased: bool = False
) -> Gaussians:
    """Float32 tensors on the CPU."""
    values = {name: _tensor(getattr(columns, name)) for name in ("means", "quaternions", "scales", "opacities")}
    extras = None if columns.extras is None else _tensor(columns.extras)
    harmonics = _tensor(columns.harmonics)
    return Gaussians(
        **values, harmonics=harmonics, background=background, extras=extras, antialiased=antialiased, extra_names=()
    )


def _tensor(values: Array) -> torch.Tensor:
    return torch.from_numpy(np.require(values, np.float32, ["C", "W"]))


def to_columns(gaussians: Gaussians) -> GaussianArrays:
    """What is to be written, checked.

    Raises:
        UserError: no Gaussians, a number that is not finite, or one outside its range.
    """
    arrays = {name: value for name in ATTRIBUTES if (value := getattr(gaussians, name)) is not None}
    if not len(gaussians.means):
        raise UserError("there are no Gaussians to write.")
    return GaussianArrays(**{name: checked(name, value) for name, value in arrays.items()})


def checked(name: str, tensor: torch.Tensor) -> Array:
    """An attribute of Gaussians, `[..., N, ...]`, as float32. Raises `UserError` for what it may not be."""
    values = tensor.detach().to("cpu", torch.float32).numpy()
    _require(name, values, np.isfinite(values), "finite")
    if name == "scales":
        _require(name, values, values > 0, "above 0")
    if name == "opacities":
        _require(name, values, abs(values - 0.5) <= 0.5, "from 0 to 1")
    if name == "quaternions":
        lengths = np.linalg.norm(values.astype(np.float64), axis=-1)
        _require("lengths of quaternions", lengths, lengths >= MIN_QUATERNION_NORM, "above 0")
    return values


def _require(name: str, values: Array, good: Array, words: str) -> None:
    if not good.all():
        bad = np.argwhere(~good)
        where, found = bad[0].tolist(), values[tuple(bad[0])]
        raise UserError(
            f"the {name} of Gaussians are to be {words}, but at {where} is {found:g} ({len(bad)} such): "
            "make them again, or take another time or checkpoint."
        )


def as_color(harmonics: Array) -> Array:
    """Colours `[N, 3]` without the view's direction, of harmonics `[N, K, 3]`."""
    return 0.5 + SH_0 * harmonics[:, 0].astype(np.float64)


def from_color(colors: Array) -> Array:
    """Harmonics `[N, 1, 3]` of colours `[N, 3]` that look the same from everywhere."""
    return ((colors.astype(np.float64) - 0.5) / SH_0).astype(np.float32)[:, None]


def to_bytes(values: Array) -> Array:
    """Rounded to whole numbers 0..255."""
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
