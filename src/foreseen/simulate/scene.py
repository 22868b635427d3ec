"""What the ray caster renders: solids of one colour or checked, fixed to the world or to a moving body."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from foreseen.simulate.kernel_tables import LightParameters

Triple = tuple[float, float, float]


@dataclass(frozen=True)
class Material:
    """A colour in linear light, 0..1, and optionally a second one in a checker pattern with tiles of edge `tile_size`
    [scene units]."""

    color: Triple
    second: Triple | None = None
    tile_size: float = 0.0


@dataclass(frozen=True)
class Solid:
    """A shape with a material, in the frame of its body (or of the world, where it is static).

    Attributes:
        position: of the shape's origin, in the body's frame.
        rotation: `[3, 3]` from the shape's frame to the body's.
        casts_shadow: whether it casts a shadow.
    """

    material: Material
    position: Triple = (0.0, 0.0, 0.0)
    rotation: np.ndarray = field(default_factory=lambda: np.eye(3))
    casts_shadow: bool = True


@dataclass(frozen=True)
class Sphere(Solid):
    """All points within `radius` of the origin."""

    radius: float = 1.0


@dataclass(frozen=True)
class Box(Solid):
    """A box about the origin; `half_extents` is half its size along each axis."""

    half_extents: Triple = (1.0, 1.0, 1.0)


@dataclass(frozen=True)
class Capsule(Solid):
    """All points within `radius` of the segment from z = -half_length to z = half_length."""

    radius: float = 0.1
    half_length: float = 1.0


@dataclass(frozen=True)
class Plane(Solid):
    """The whole plane z = 0: a floor or a wall, which casts no shadow."""

    casts_shadow: bool = False


@dataclass(frozen=True)
class HeightField(Solid):
    """A block from z = `base` up to the bilinear surface through `heights` `[nx, ny]`, which spans
    [-half_extents[0], half_extents[0]] x [-half_extents[1], half_extents[1]]."""

    heights: np.ndarray = field(default_factory=lambda: np.zeros((2, 2)))
    half_extents: tuple[float, float] = (1.0, 1.0)
    base: float = -1.0


@dataclass(frozen=True)
class Light:
    """One distant light, and ambient light from sky and ground.

    Attributes:
        direction: to the light, of any length.
        sun: strength on a surface that faces it.
        radius: angular radius of its disc [rad]: the softness of shadows.
        sky, ground: ambient light on a surface that faces straight up, or straight down.
    """

    direction: Triple = (-0.45, -0.6, 1.0)
    sun: float = 0.85
    radius: float = 0.06
    sky: float = 0.38
    ground: float = 0.16

    def light_params(self) -> LightParameters:
        """The same in the kernels' form."""
        x, y, z = np.array(self.direction) / np.linalg.norm(self.direction)
        return LightParameters(float(x), float(y), float(z), self.sun, self.radius, self.sky, self.ground)


@dataclass(frozen=True)
class Body:
    """A moving rigid body: its solids in its own frame, whose origin is its centre of mass."""

    name: str
    solids: tuple[Solid, ...]


@dataclass(frozen=True)
class Stage:
    """Everything that is rendered: static solids and moving bodies; body b has instance id b + 1."""

    static: tuple[Solid, ...]
    bodies: tuple[Body, ...] = ()
    light: Light = field(default_factory=Light)


@dataclass(frozen=True)
class Poses:
    """Poses of B bodies: rotations `[B, 3, 3]` and positions `[B, 3]`, body to world."""

    rotations: np.ndarray
    positions: np.ndarray
