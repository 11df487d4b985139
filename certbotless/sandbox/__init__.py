"""Local stand-ins for the outside world: what `certbotless sandbox` and the tests run against.

Nothing outside this package imports it.
"""
