"""`certbotless account import`: an account that another ACME client has made is used from now on.

`run` is the command. `foreign` knows where each client keeps the key of its account, and in what form.
"""
