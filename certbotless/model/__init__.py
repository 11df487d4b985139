"""The nouns: values without effects. What is remembered, seen, decided and shown of a site.

Entry: `view.View`, which has one of each.
Never: reads, writes, asks or waits.
"""
