"""foreseen: learns how a filmed scene moves, and shows it from any view at any time, past the last frame."""

__version__ = "0.1.0"
