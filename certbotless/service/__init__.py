"""What lives on: the daemon, the processes that it starts, one-shot runs, the status page.

Entry: `daemon.Daemon` (with `checker.Checker` and `workers.Workers`) and `oneshot.run`.
Never: loads the libraries of the CA, of the API or of the engine in the daemon.
"""
