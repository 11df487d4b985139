"""`python -m certbotless` is the command `certbotless`."""

from .cli import main

if __name__ == "__main__":
    raise SystemExit(main())
