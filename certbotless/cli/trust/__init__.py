"""`certbotless trust`: brings the root of the local CA to its clients.

`run` is the command. `roots` reads the root with the rights of the owner of its folder, and refuses one that
could vouch for more than this file says. `install` puts it into the `stores` of this machine (`folders`,
`nss`), and `commands` says what to type on another one. `rotation` replaces it. What other systems import,
and what is typed there, is in `report.root_files` and `report.trust_steps`: the page of the root has the
same.
"""
