"""Gaussian splatting of a scene at rest."""
