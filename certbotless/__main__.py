"""`python -m certbotless` is the command `certbotless`."""

from .cli.main import start

if __name__ == "__main__":
    raise SystemExit(start())
