"""The methods, by name: those of foreseen, and those that installed packages offer as entry points `foreseen.methods`.

Nothing heavy is imported until a method is loaded.
"""

from foreseen.errors import UserError, suggest
from foreseen.methods.entry import MethodEntry
from foreseen.plugins import Registry, instance_of

_OWN = {
    "node-rf": MethodEntry(
        target="foreseen.methods.node_rf.model:build",
        presets="foreseen.methods.node_rf.config:PRESETS",
        paper="Node-RF (arXiv 2603.12078, CVPR 2026)",
        code_licence="none of their code is used",
        needs="posed images with times; one sequence, or several with positions of the bodies",
        reproduced="one sequence: ODE-RNN VAE, neural ODE, conditioned field; several: from initial conditions",
    ),
    "rigid-ode": MethodEntry(
        target="foreseen.methods.rigid_ode.model:build",
        presets="foreseen.methods.rigid_ode.config:PRESETS",
        paper="none; ours",
        code_licence="none of their code is used",
        needs="posed images with times; one sequence or several; silhouettes that tell what moves",
        reproduced="nothing: rigid parts as voxels or Gaussians, moved by learned second-order dynamics or impacts",
    ),
    "d-nerf": MethodEntry(
        target="foreseen.methods.d_nerf.model:build",
        presets="foreseen.methods.d_nerf.config:PRESETS",
        paper="D-NeRF (arXiv 2011.13961, CVPR 2021)",
        code_licence="none of their code is used",
        needs="posed images with times; one sequence, or several with truth of how each begins",
        reproduced="deformation network and canonical field; conditioned on p0, v0 (D-NeRF(c))",
    ),
    "gaussians": MethodEntry(
        target="foreseen.methods.gaussians.model:build",
        presets="foreseen.methods.gaussians.config:PRESETS",
        paper="3D Gaussian Splatting (arXiv 2308.04079, SIGGRAPH 2023); 3DGS as MCMC (arXiv 2404.09591)",
        code_licence="none of their code is used",
        needs="posed images of a scene at rest",
        reproduced="clone, split and prune, or relocation with noise; L1 and SSIM; under a budget",
    ),
    "deformable-gaussians": MethodEntry(
        target="foreseen.methods.deformable_gaussians.model:build",
        presets="foreseen.methods.deformable_gaussians.config:PRESETS",
        paper="Deformable 3D Gaussians (arXiv 2309.13101, CVPR 2024)",
        code_licence="none of their code is used",
        needs="posed images with times; one sequence",
        reproduced="canonical cloud, deformation network, annealed smooth training",
    ),
    "4d-gaussians": MethodEntry(
        target="foreseen.methods.gaussians_4d.model:build",
        presets="foreseen.methods.gaussians_4d.config:PRESETS",
        paper="4D Gaussian Splatting (arXiv 2310.08528, CVPR 2024)",
        code_licence="none of their code is used",
        needs="posed images with times; one sequence",
        reproduced="canonical cloud, planes of space and time with heads for place, turn and size",
    ),
    "gaussian-ode": MethodEntry(
        target="foreseen.methods.gaussian_ode.model:build",
        presets="foreseen.methods.gaussian_ode.config:PRESETS",
        paper="none; compare ODE-GS (arXiv 2506.05480), TRACE (ICCV 2025), ParticleGS (arXiv 2505.20270)",
        code_licence="none of their code is used",
        needs="posed images with times; one sequence; better with silhouettes that tell what moves",
        reproduced="nothing: a deformable cloud, and an ODE on the coefficients of its displacements",
    ),
}

METHODS: Registry[MethodEntry] = Registry(_OWN, "foreseen.methods", instance_of(MethodEntry))


def find_method(name: str) -> MethodEntry:
    """The entry of a method. Raises `UserError` for an unknown name."""
    if name not in METHODS:
        raise UserError(f"unknown method '{name}': {suggest(name, METHODS)}")
    return METHODS[name]


__all__ = ["METHODS", "MethodEntry", "find_method"]
