"""What can break, tested one by one: `certbotless doctor`. Tells, and changes nothing that stays.

`run` goes through it: `api` and `authority` ask the DNS service and the CA, `naming` asks resolvers and name
servers, `machine` and `service` look at this machine and its containers. Each test is a line (`finding`);
what follows from a failure is not one more.
"""
