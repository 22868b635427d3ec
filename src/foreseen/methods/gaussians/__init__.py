"""Gaussian splatting of a static scene."""
