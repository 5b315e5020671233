"""Lets ``python -m focusmap`` do what the command ``focusmap`` does."""

from focusmap.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
