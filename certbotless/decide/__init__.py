"""From what is seen and remembered to the steps that are due, each with its reason. Pure.

Entry: `decide.decide`.
Never: reads a clock, a file or the network: `now` is given. Imports base, config and model alone.
"""
