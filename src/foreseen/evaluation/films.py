"""The scored pictures of everyone, put together to films of one camera each and judged by the rules of physics."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from torch import Tensor

from foreseen.data.labels import labels_at
from foreseen.data.types import Frame, Sequence
from foreseen.evaluation.facts import Facts, find_facts
from foreseen.evaluation.frames import follows
from foreseen.evaluation.moving import moving_mask, truth_mask
from foreseen.evaluation.physics import RULES, Film, Findings, judge

NAME, TRUTH = "consistency", "truth"


@dataclass
class _Reel:
    """One contestant's film under way, and what was found in those before it."""

    frames: list[Frame] = field(default_factory=list)
    masks: list[np.ndarray] = field(default_factory=list)
    films: list[tuple[int, Findings]] = field(default_factory=list)


class Films:
    """Takes pictures as they are scored: those of one split, camera after camera, in order of time."""

    def __init__(self, sequences: Mapping[str, Sequence]) -> None:
        self._sequences = sequences
        self._reels: dict[str, _Reel] = {}
        self._facts: dict[tuple[str, str], Facts | None] = {}

    def add(self, who: str, frame: Frame, image: Tensor, background: Tensor | None) -> None:
        """One picture of a contestant; a film ends where the next one does not follow. Nothing without a
        background."""
        if background is None:
            return
        reel = self._reels.setdefault(who, _Reel())
        if reel.frames and not follows(frame, reel.frames[-1], self._sequences[frame.sequence]):
            self._cut(reel)
        reel.frames.append(frame)
        reel.masks.append(moving_mask(image, background).numpy())

    def finish(self, method: str) -> dict[str, dict[str, Any]]:
        """Contestant -> {"consistency": what was found since the last call}, empty where there was no film; that of
        `method` has the truth's in it."""
        for reel in self._reels.values():
            self._cut(reel)
        found = {who: _pooled(reel.films) for who, reel in self._reels.items() if reel.films}
        self._reels = {}
        if method in found and TRUTH in found:
            found[method][TRUTH] = found[TRUTH]
        return {who: {NAME: summary} for who, summary in found.items() if who != TRUTH}

    def _cut(self, reel: _Reel) -> None:
        frames, masks = reel.frames, reel.masks
        reel.frames, reel.masks = [], []
        if len(frames) < 2:
            return
        facts = self._learn(frames[0])
        if facts is not None:
            film = Film(np.array([f.time for f in frames]), np.stack(masks))
            reel.films.append((len(frames), judge(film, facts)))

    def _learn(self, frame: Frame) -> Facts | None:
        key = (frame.sequence, frame.camera_id)
        if key not in self._facts:
            self._facts[key] = camera_facts(self._sequences[frame.sequence], frame.camera_id)
        return self._facts[key]


def _pooled(films: list[tuple[int, Findings]]) -> dict[str, Any]:
    """Means over all that was found in several films."""
    summary: dict[str, Any] = {"films": len(films), "frames": sum(count for count, _ in films)}
    for rule in RULES:
        values = [value for _, findings in films for value in findings.get(rule, ())]
        if values:
            summary[rule] = sum(values) / len(values)
        if rule == "energy_drift" and values:
            summary["energy_frames"] = len(values)
    return summary


def camera_facts(sequence: Sequence, camera_id: str) -> Facts | None:
    """What truth tells about all frames that one camera took of a sequence; None without masks."""
    frames = [f for f in sequence.frames if f.camera_id == camera_id]
    pictures = [_instances(f) for f in frames]
    known = [picture for picture in pictures if picture is not None]
    if len(known) < len(frames):
        return None
    times = [f.time for f in frames]
    labels = labels_at(sequence.truth, times)
    gravity = None if sequence.truth is None else sequence.truth.constants.get("gravity")
    depths = (depth.numpy() for f in frames if (depth := f.depth()) is not None)
    whole = all(f.depth_path is not None for f in frames)
    return find_facts(np.array(times), np.stack(known), frames[0].camera, labels, gravity, depths if whole else ())


def _instances(frame: Frame) -> np.ndarray | None:
    mask = frame.mask()
    mask = truth_mask(frame) if mask is None else mask
    return None if mask is None else mask.numpy().astype(np.uint16)
