"""What methods with a radiance field share."""
