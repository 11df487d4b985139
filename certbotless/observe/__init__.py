"""One check of a site: ask the world, read the state, decide.

Entry: `views.look` for one site, `views.look_at` for several.
Never: changes anything outside of `clients.json`.
"""
