"""Deformable Gaussians: a canonical cloud that a network displaces. A baseline."""
