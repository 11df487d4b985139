"""No secret is told: neither in what a run prints and logs, nor in a file that is not there to keep it."""

import re

from support.bed import KEY_ID, KEY_SECRET, Bed

# What is in state_dir to be kept secret: account keys, the keys of orders, the copy of the pair.
_KEYS_AT_REST = ("key.pem", "key.pem.old", ".order.key", ".pair", "privkey.pem", ".key")


def assert_no_secret_is_told(bed: Bed) -> None:
    """Look through all that the runs of this bed have left; its fixture does so after every test."""
    texts = dict.fromkeys(bed.said, "an output")
    for path in [*bed.home.glob("*.log"), *bed.state.rglob("*"), *bed.certs.rglob("*")]:
        if path.is_file() and not path.name.endswith(_KEYS_AT_REST):
            texts[path.read_text(errors="replace")] = str(path)
    temporary = bed.dns.sts.issued
    hidden = [part for key in temporary for part in (key.id, key.secret, key.token)]
    for text, where in texts.items():
        for withheld in (KEY_SECRET, *hidden, "PRIVATE KEY", "Signature="):
            assert withheld not in text, f"{withheld} in {where}"
    for said in bed.said:
        assert KEY_ID not in said
        # A foreign text that moves the cursor or forges a line.
        assert re.search(r"[^\n\x20-\x7e\u00a1-\uffff]", said) is None, repr(said)
