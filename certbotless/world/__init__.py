"""What is asked and told outside: DNS, the CA, the LAN, containers, TLS, HTTP. One library a file.

Entry: `dns.alidns`, `dns.nameservers`, `acme.issue`, `lan.address`, `containers`, `tls`.
Never: decides whether something is due.
"""
