"""From a situation (what is wanted, seen and remembered) to the steps that are due. Pure.

Entry: `decide.decide`, which takes a `model.situation.Situation`.
Never: reads a clock, a file or the network: `now` is given. Imports base, config and model alone.
"""
