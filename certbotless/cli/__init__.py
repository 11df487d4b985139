"""The commands, and what they print.

Entry: `main.main`.
Never: does the work itself: each command calls one other room, or `doctor`, `init` and `add` in here.
"""
