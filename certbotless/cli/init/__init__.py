"""The first configuration, from a few questions or from options; what is there already is never touched."""
