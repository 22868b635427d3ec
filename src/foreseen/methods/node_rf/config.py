"""Settings of Node-RF: one dataclass for each preset."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from foreseen.methods.node_rf.fast_config import NodeRFFastConfig


@dataclass(frozen=True)
class MultiSequenceConfig:
    """The paper's shapes and schedule for several sequences."""

    steps: int = 700_000
    """Training steps where no other budget is given."""
    lr_decay: float = 0.0398
    """Learning rate at the end of the budget as a share of the first: 0.1^(700000 / 500000)."""
    warm_up_steps: int = 2000
    """First steps in which the field learns the static scene from a code of its own, without the ODE."""
    lipschitz: bool = True
    """Bound the Lipschitz constant of every layer of the radiance field."""

    levels: int = 10
    """Octaves of the encodings of positions and velocities."""
    position_width: int = 8
    """Outputs of the position encoder."""
    encoder_width: int = 256
    """Width of the position encoder's layers."""
    encoder_layers: int = 8
    """Hidden layers of the position encoder."""
    encoder_skip: int = 4
    """Index of the hidden layer after which the encoded positions join again."""
    decoder_width: int = 256
    """Width of the two hidden layers of the three decoders (code, positions, velocities)."""

    start_share: float = 0.5
    """Trajectories start at a random time of this first share of a sequence's training times."""
    pose_weight: float = 1e-2
    """Weight of the error of the decoded positions."""
    velocity_weight: float = 1e-2
    """Weight of the error of the decoded velocities."""
    targets: Literal["raw", "encoded"] = "raw"
    """Outputs of these decoders. raw: the values, with the mean absolute error, as in the paper. encoded: their
    encodings, with the mean squared error, as in the authors' code."""


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
    """Linear layers of the ODE's right-hand side."""
    recurrent_width: int = 20
    """Dimensions of the encoder's recurrent state (its mean; a deviation of the same size goes with it)."""
    recurrent_hidden: int = 100
    """Width of the hidden layers of the encoder's gates, ODE and head."""
    encoder_steps: int = 50
    """Euler steps of the encoder's ODE from the first observation to the last. More are slower and more exact."""
    backward_lead: float = 0.01
    """How long after the last observation the encoder starts its backward run [window lengths]."""
    learned_codes: int = 2
    """First training times that have a learned code each: the observations of the encoder."""
    code_std: float = 0.01
    """Norm of a random code at the start, about."""
    ode_init_std: float = 0.1
    """Standard deviation of the initial weights of the layers of ODE, encoder and decoder; biases start at 0. Larger
    values give faster dynamics at the start."""
    max_plain_layers: int = 3
    """An ODE of more linear layers has residual inner ones. A plain stack of seven keeps the size of its signal but
    squeezes it into few directions: it learns slowly, and the paper's failed."""

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
    """Activation of the density. The paper's relu can empty the whole field in the first steps; it then has no
    gradient, and training does not recover."""
    lipschitz: bool = False
    """Bound the Lipschitz constant of every layer of the radiance field of one sequence (the paper does so for several
    sequences only)."""
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
    """Forecast from one fixed sample of the initial state instead of its mean."""

    rays: int = 500
    """Rays a step, all of one picture."""
    samples: int = 64
    """Samples a ray for the coarse network."""
    importance_samples: int = 128
    """Further samples a ray for the fine network."""
    recompute: bool = True
    """Run the networks again in the backward pass instead of keeping the activations: less memory
    (0.8 instead of 2.1 GB at the full size), more time (40 %). Turn it off on a GPU."""
    centre_crop_steps: int = 500
    """First steps in which rays come from the central half of the picture."""
    warm_up_steps: int = 5000
    """First steps in which the field learns the first times from their own codes, without the ODE (one sequence)."""
    refresh_period: int = 4000
    """The warm-up is repeated with this period [steps], ..."""
    refresh_first: int = 2000
    """... from this step of the period on, ..."""
    refresh_last: int = 2200
    """... up to and including this one."""
    max_warm_up_share: float = 0.1
    """The crop and the first warm-up end after this share of the budget at the latest, so that a short run learns the
    motion."""

    lr: float = 5e-4
    """Learning rate at the start."""
    adam_epsilon: float = 1e-8
    """Epsilon of Adam, added to the root of the mean squared gradient. Larger values make smaller steps where gradients
    are small."""
    lr_decay: float = 0.0251
    """Learning rate at the end of the budget as a share of the first: 0.1^(800000 / 500000) (one sequence)."""

    multi_sequence: MultiSequenceConfig = MultiSequenceConfig()
    """Settings for several sequences."""


PRESETS: dict[str, Any] = {"fast": NodeRFFastConfig(), "paper": NodeRFPaperConfig()}
