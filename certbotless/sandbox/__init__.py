"""Local stand-ins for the outside world: what `certbotless sandbox` and the tests run against.

Entry: `story.main` and `local_story.main`, and one class for each stand-in.
Never: shares code with the program, but for `base.errors`. Only the command line imports it.
"""
