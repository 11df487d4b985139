"""`certbotless trust`: brings the root of the local CA to its clients.

`run` is the command. `roots` reads the root with the rights of the owner of its folder, and refuses one that
could vouch for more than this file says. `export` makes of it what other systems import, `install` puts it
into the `stores` of this machine, and `commands` says what to type on another one. `rotation` replaces it.
"""
