"""From the YAML file to one frozen `Config`, and from an edit to the next one.

Entry: `load.load`; the keys are in `settings`.
Never: uses the network, or changes a file.
"""
