"""Rigid parts that move: found from silhouettes, on smooth trajectories."""
