"""What a player does with time, without a screen."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass
class Player:
    """Time that stands or runs between `start` and `end`.

    Attributes:
        start, end: first and last time, in the data set's unit.
        time: now, always between them.
        rate: data time for each second at speed 1.
        playing: time runs.
        speed: times `rate`; above 0.
        loop: from the end it goes on at the start, else it stops there.
    """

    start: float
    end: float
    time: float
    rate: float = 1.0
    playing: bool = False
    speed: float = 1.0
    loop: bool = True

    def seek(self, time: float) -> None:
        """Goes to `time`, or to the nearer end; what plays goes on from there."""
        self.time = min(max(time, self.start), self.end)

    def toggle(self) -> None:
        """Plays or stops. At the end it begins anew."""
        self.playing = not self.playing
        if self.playing and self.time >= self.end:
            self.time = self.start

    def span(self, start: float, end: float) -> None:
        """Takes another range."""
        self.start, self.end = start, max(start, end)
        self.seek(self.time)

    def advance(self, seconds: float) -> bool:
        """Lets `seconds` of the clock on the wall pass. Returns whether time has changed."""
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
