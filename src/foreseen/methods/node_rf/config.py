"""Settings of Node-RF, one dataclass a preset's kind."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class MultiSequenceConfig:
    """What the paper's shapes and schedule are where there are several sequences."""

    steps: int = 700_000
    """Training steps where no other budget is given."""
    lr_decay: float = 0.0398
    """Learning rate at the end of the budget as a share of the first: 0.1^(700000 / 500000)."""
    warm_up_steps: int = 2000
    """For so many first steps the field learns what does not move from a code of its own, without the ODE."""
    lipschitz: bool = True
    """Bound every layer of the radiance field."""

    levels: int = 10
    """Octaves of the encodings of positions and velocities."""
    position_width: int = 8
    """Dimensions that the position encoder makes of the encoded positions."""
    encoder_width: int = 256
    """Width of the position encoder's layers."""
    encoder_layers: int = 8
    """Hidden layers of the position encoder."""
    encoder_skip: int = 4
    """Index of the hidden layer after which the encoded positions join again."""
    decoder_width: int = 256
    """Width of the two hidden layers of the three decoders (code, positions, velocities)."""

    start_share: float = 0.5
    """Trajectories start at a random one of so large a share of a sequence's first training times."""
    pose_weight: float = 1e-2
    """Weight of the error of the decoded positions."""
    velocity_weight: float = 1e-2
    """Weight of the error of the decoded velocities."""
    targets: Literal["raw", "encoded"] = "raw"
    """What these decoders say: raw values, scored by the mean absolute error as in the paper, or their encodings,
    scored by the mean squared error as in the authors' code."""


@dataclass(frozen=True)
class NodeRFPaperConfig:
    """The paper's shapes and schedule. README.md says where each number comes from."""

    steps: int = 800_000
    """Training steps where no other budget is given (one sequence)."""

    code_width: int = 512
    """Width of the code that conditions the radiance field."""
    latent_width: int = 6
    """Dimensions of the ODE's state (one sequence)."""
    ode_width: int = 100
    """Width of the hidden layers of the ODE's right-hand side."""
    ode_layers: int = 3
    """Linear layers of the ODE's right-hand side; from four on the inner ones are residual."""
    recurrent_width: int = 20
    """Dimensions of the encoder's recurrent state (its mean; a deviation of the same size goes with it)."""
    recurrent_hidden: int = 100
    """Width of the hidden layers of the encoder's gates, law and head."""

    field_width: int = 256
    """Width of the radiance field's layers."""
    field_layers: int = 8
    """Layers of the radiance field's trunk."""
    field_skip: int = 4
    """Index of the trunk layer after which the encoded position joins again."""
    position_levels: int = 10
    """Octaves of the position's encoding."""
    direction_levels: int = 4
    """Octaves of the view direction's encoding."""
    density: Literal["softplus", "relu"] = "softplus"
    """What makes the density positive. The paper's relu can empty the whole field in the first steps, for
    good."""
    lipschitz: bool = False
    """Bound every layer of the radiance field of one sequence (the paper does so for many sequences only)."""
    lipschitz_weight: float = 1e-22
    """Weight of the product of all bounds in the loss; tiny because 24 factors multiply."""

    solver: Literal["euler", "midpoint", "rk4", "dopri5"] = "euler"
    """Solver of the latent ODE (the paper: dopri5 for bouncing balls, euler elsewhere)."""
    ode_step: float = 0.05
    """Step of the fixed-step solvers; the observed window has length 1."""
    rtol: float = 1e-3
    """Relative tolerance of dopri5."""
    atol: float = 1e-4
    """Absolute tolerance of dopri5."""
    adjoint: bool = False
    """Gradients of dopri5 by the adjoint equation: less memory, less exact."""
    sample_at_test: bool = False
    """Forecast from one fixed draw of the initial state instead of its mean."""

    rays: int = 500
    """Rays a step, all of one picture."""
    samples: int = 64
    """Samples a ray for the coarse network."""
    importance_samples: int = 128
    """Samples a ray that are added for the fine network."""
    recompute: bool = True
    """Run the networks again in the backward pass instead of keeping what each layer said: less memory
    (0.8 instead of 2.1 GB at the full size), more time (40 %). Turn it off on a GPU."""
    centre_crop_steps: int = 500
    """For so many first steps rays come from the middle of the picture."""
    warm_up_steps: int = 5000
    """For so many first steps the field learns the first two times from their own codes, without the ODE (one
    sequence)."""
    refresh_period: int = 4000
    """The warm-up comes back once in so many steps, ..."""
    refresh_first: int = 2000
    """... from this step of the period on, ..."""
    refresh_last: int = 2200
    """... up to and with this one."""
    max_warm_up_share: float = 0.1
    """Neither the crop nor the first warm-up outlasts this share of the budget, so that a short run learns to
    move."""

    lr: float = 5e-4
    """Learning rate at the start."""
    lr_decay: float = 0.0251
    """Learning rate at the end of the budget as a share of the first: 0.1^(800000 / 500000) (one sequence)."""

    multi_sequence: MultiSequenceConfig = MultiSequenceConfig()
    """Settings of their own for several sequences."""


PRESETS: dict[str, Any] = {"paper": NodeRFPaperConfig()}
