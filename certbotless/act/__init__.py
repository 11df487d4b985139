"""One run: takes each step that is due, under a lock, with proof and with a way back.

Entry: `run.run`; `dispatch.take` leads to the function of each step.
Never: decides by itself. After each step it calls `observe` again, which decides.
"""
