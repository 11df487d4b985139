"""The CA, by RFC 8555 and RFC 9773."""
