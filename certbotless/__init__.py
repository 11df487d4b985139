"""certbotless keeps a LAN service trusted: its record, its certificate, and what it serves.

Its rooms, in the order of dependence; each imports from those above it alone:

    base     this process and its machine: errors, time, names, files, locks
    config   from the YAML file to one frozen value
    model    the nouns: what is remembered, seen, decided and shown of a site
    decide   pure: from what is seen and remembered to the steps that are due
    report   pure: from views to text, JSON, HTML and metrics
    state    what is kept on disk: the pair that servers read, and the state of each site
    world    what is asked and told outside: DNS, the CA, the LAN, containers, TLS
    observe  one check of a site: world and state to a view
    notify   messages: which are due, and their way to the receivers
    act      one run: takes the steps, under a lock, with proof and a way back
    service  what lives on: the daemon, its processes, one-shot runs, the status page
    sandbox  stand-ins of Aliyun DNS, the CA and an engine, to try it and to test it
    cli      the commands
"""

__version__ = "1.0.0"

# The address of the project, which a maintainer sets. Every text that shows it takes it from here.
__url__ = ""
CHECKOUT = f"a checkout of {__url__}" if __url__ else "this checkout"
