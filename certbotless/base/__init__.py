"""This process and its machine: errors, time, names, files, locks, threads, systemd.

Entry: `errors`, the tree of all errors.
Never: knows a site, a CA or a DNS service. All other rooms may import it.
"""
