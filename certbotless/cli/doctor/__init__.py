"""`certbotless doctor`: tests one by one what can break. It changes nothing that stays.

`run` calls all tests: `api` and `authority` ask the DNS service and the CA, `naming` asks resolvers and name
servers, `machine` and `service` test this machine and its containers. Each test is a line (`finding`); what
only follows from a failure is no further failure.
"""
