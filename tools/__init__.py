"""What works on the source tree, and is in no installation."""
