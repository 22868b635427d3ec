"""`python -m foreseen`, the same as `foreseen`."""

from foreseen.cli import main

if __name__ == "__main__":
    main()
