"""Cameras, rays, rigid motion, camera paths, NDC."""
