"""Trainer, checkpoints, samplers, runs."""

from foreseen.training.launch import train
from foreseen.training.run import Run, load_run
from foreseen.training.signals import TrainingInterrupted

__all__ = ["Run", "TrainingInterrupted", "load_run", "train"]
