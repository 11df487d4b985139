"""certbotless keeps a LAN service trusted: its record, its certificate, and what it serves."""

__version__ = "0.1.0"
