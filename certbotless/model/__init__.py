"""The nouns: values without effects. What is remembered, seen, decided and shown of a site.

Entry: `situation.Situation` goes into a decision; `view.View` is what comes of it.
Never: reads, writes, asks or waits.
"""
