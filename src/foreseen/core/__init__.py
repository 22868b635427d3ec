"""The contract of data, batches and methods. Trainer, evaluator, renderer and viewer know this and nothing else."""

from foreseen.core.batch import Batch, BatchSpec, Sampler, sampler_of, samples
from foreseen.core.dynamical_system import DynamicalSystem, Trajectory
from foreseen.core.method import Callback, Method, Traits, scene_at, take
from foreseen.core.observation import Observation, ObservationKind, check_sequence_index
from foreseen.core.requirements import check_requirements
from foreseen.core.scene_info import SceneInfo, SequenceInfo
from foreseen.core.window import outside_window

__all__ = [
    "Batch",
    "BatchSpec",
    "Callback",
    "DynamicalSystem",
    "Method",
    "Observation",
    "ObservationKind",
    "Sampler",
    "SceneInfo",
    "SequenceInfo",
    "Traits",
    "Trajectory",
    "check_requirements",
    "check_sequence_index",
    "outside_window",
    "sampler_of",
    "samples",
    "scene_at",
    "take",
]
