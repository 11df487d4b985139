"""Make the pictures of the status page in docs/, run by `make screenshot`: a real page, of made-up facts.

Needs the Debian packages chromium-driver, fonts-inter, and pngquant, which makes them small.
"""

import subprocess
import sys
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from support.browser import Scheme, browser
from support.showing import remember_visit, showing, views_at

_WIDTH = 1280
_PICTURES: dict[Scheme, str] = {"light": "status-page.png", "dark": "status-page-dark.png"}


def main(docs: Path) -> None:
    """Write both pictures."""
    with tempfile.TemporaryDirectory() as folder:
        home, views = Path(folder), views_at(datetime.now(UTC))
        remember_visit(home / "state", views[0])
        with browser(home) as window, showing(home, views) as url:
            for scheme, name in _PICTURES.items():
                window.open(url, _WIDTH, scheme, 600)
                squeeze = ["pngquant", "--speed=1", "--strip", "128", "-"]
                small = subprocess.run(squeeze, input=window.screenshot(), capture_output=True, check=True)
                (docs / name).write_bytes(small.stdout)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
