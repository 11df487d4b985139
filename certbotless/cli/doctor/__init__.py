"""What can break, tested one by one: `certbotless doctor`. Tells, and changes nothing that stays.

`run` goes through it: `api` and `authority` ask who must say yes, `naming` what the world is told, `service`
what the machine shows. Each test is a line (`finding`), and what follows from a failure is not one more.
"""
