"""The time of a player, without a screen."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Player:
    """A time between `start` and `end`, paused or playing.

    Attributes:
        start, end: first and last time, in the data set's unit.
        time: the current time, always between them.
        rate: data time per second at speed 1.
        playing: the time advances.
        speed: times `rate`; above 0.
        loop: continue at the start after the end; else stop there.
    """

    start: float
    end: float
    time: float
    rate: float = 1.0
    playing: bool = False
    speed: float = 1.0
    loop: bool = True

    def seek(self, time: float) -> None:
        """Goes to `time`, or to the nearer end; playing continues from there."""
        self.time = min(max(time, self.start), self.end)

    def toggle(self) -> None:
        """Plays or pauses. At the end it starts again."""
        self.playing = not self.playing
        if self.playing and self.time >= self.end:
            self.time = self.start

    def span(self, start: float, end: float) -> None:
        """Sets the range."""
        self.start, self.end = start, max(start, end)
        self.seek(self.time)

    def advance(self, seconds: float) -> bool:
        """Advances by `seconds` of real time. Returns whether the time has changed."""
        if not self.playing or seconds <= 0:
            return False
        length, before = self.end - self.start, self.time
        after = self.time + seconds * self.speed * self.rate
        if after < self.end:
            self.time = after
        elif self.loop and length > 0:
            self.time = self.start + (after - self.start) % length
        else:
            self.time, self.playing = self.end, False
        return self.time != before
