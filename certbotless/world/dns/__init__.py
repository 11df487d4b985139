"""Aliyun DNS, name servers, and what stands between them and us."""
