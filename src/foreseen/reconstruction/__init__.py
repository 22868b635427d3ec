"""What is told from pictures before training: silhouettes, visual hulls, rigid parts and their tracks."""
