"""``python -m tools.image_archive FROM TO TAG ...``: an image for `docker load`, the same bytes each time.

FROM is a tar archive of buildah's in the form of `docker save`. The configuration of the image there names
the container that it was built in, another one each time: that goes. The layers stay as they are.

Source: the Docker image specification 1.2, "Combined image JSON + filesystem changeset format".
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import sys
import tarfile
from pathlib import Path
from typing import IO, Any

# What says where it was built, at the top of the configuration and in its part `config`.
_OF_THE_BUILD = {"container", "Hostname"}


def write(archive: Path, target: Path, tags: list[str]) -> int:
    """Write the image of `archive` under these names, packed; return the bytes of its layers, unpacked."""
    with tarfile.open(archive) as given, target.open("wb") as file:
        (image,) = json.load(_member(given, "manifest.json"))
        config = _without_the_build(json.load(_member(given, image["Config"])))
        name = f"{hashlib.sha256(config).hexdigest()}.json"
        manifest = json.dumps([{"Config": name, "RepoTags": tags, "Layers": image["Layers"]}]).encode()
        sizes = [given.getmember(layer).size for layer in image["Layers"]]
        with (
            gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=file, mtime=0) as packed,
            tarfile.open(mode="w", fileobj=packed, format=tarfile.USTAR_FORMAT) as made,
        ):
            _add(made, "manifest.json", io.BytesIO(manifest), len(manifest))
            _add(made, name, io.BytesIO(config), len(config))
            for layer, size in zip(image["Layers"], sizes, strict=True):
                _add(made, layer, _member(given, layer), size)
    return sum(sizes)


def _without_the_build(config: dict[str, Any]) -> bytes:
    kept = {key: value for key, value in config.items() if key not in _OF_THE_BUILD | {"container_config"}}
    kept["config"] = {key: value for key, value in config["config"].items() if key not in _OF_THE_BUILD}
    return json.dumps(kept, sort_keys=True).encode()


def _member(archive: tarfile.TarFile, name: str) -> IO[bytes]:
    found = archive.extractfile(name)
    if found is None:
        raise ValueError(f"{name} is no file of the archive")
    return found


def _add(archive: tarfile.TarFile, name: str, content: IO[bytes], size: int) -> None:
    member = tarfile.TarInfo(name)
    member.size = size
    archive.addfile(member, content)


if __name__ == "__main__":
    print(write(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3:]))
