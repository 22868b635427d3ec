"""What is found in pictures before training: silhouettes, visual hulls, rigid parts and their trajectories."""
