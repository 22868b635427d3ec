"""One renderer for each scene type, a file each."""
