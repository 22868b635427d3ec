"""D-NeRF: a canonical radiance field seen through a deformation network. A baseline."""
