"""From what is wrong to the messages that are due, and their way to the receivers.

Entry: `outbox.due`, then `outbox.deliver`.
Never: changes what a site does. A receiver that is down holds up nothing.
"""
