"""A further site in a configuration file that is there: new lines in it, and no other byte changes."""
