"""What is kept on disk: the pair that servers read, and what the next run must know.

Entry: `site.SiteFile` below `state_dir`, `pair.Store` below `certs_dir`.
Never: uses the network; overwrites a file of somebody else.
"""
