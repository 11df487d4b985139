"""The explorer: the whole program, but for its network, in a world where anything may go wrong at any time.

The program's own acting, deciding, looking, issuing, files, locks, state and ledger run over a simulated
world: time, name servers, the zone, a CA, an engine and what is served. An episode is a random set-up, then
random events with looks in between, as the daemon takes them; then all faults are lifted, and the site must
come to rest, and stay well for three lifetimes. Everything in it comes from its seed, so it can be replayed:

    PYTHONPATH=tests .venv/bin/python -m explorer SEED [EPISODES [public|local]]

Parts: `authority` (zones, name servers), `ca`, `engine` (containers), `world` (all of it, and the program's
edges), `happenings` (what may go wrong), `local` (both for a site of the local CA), `checks` (what must
hold), `episode` (one life).
"""
