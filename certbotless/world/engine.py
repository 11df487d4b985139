"""The way to one Docker engine, and the errors of it.

Source: Docker Engine API.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from ..base.errors import DeployError, printable, reason_of
from ..base.words import Text

# docker.socket may start the engine at our call, so give it the time of a start.
ENGINE_TIMEOUT_S = 60


def load() -> Any:
    """Return the library that talks to the engine; loading it takes 0.1 s, and only a deploy needs it."""
    import docker  # noqa: PLC0415

    return docker


class Engine:
    """The engine at one address; nothing is asked before the first use of `api`."""

    def __init__(self, host: str) -> None:
        self._host = host

    @cached_property
    def api(self) -> Any:
        """The library's client."""

        class Direct(load().APIClient):  # type: ignore[misc]  # the library has no types
            # An HTTP_PROXY of the environment is for the Internet. The first request is made in the making.
            trust_env = property(lambda _: False, lambda _, __: None)

        return Direct(base_url=self._host, timeout=ENGINE_TIMEOUT_S)

    @contextmanager
    def errors(self, what: str) -> Iterator[None]:
        """Raise `DeployError` for what the library raises; `what` is what was asked for."""
        import requests  # noqa: PLC0415

        errors = load().errors
        try:
            yield
        except errors.APIError as exc:
            raise DeployError(
                Text("the Docker engine refused for {!r}: {}", what, printable(exc.explanation))
            ) from exc
        except (errors.DockerException, requests.RequestException) as exc:
            raise DeployError(
                Text("no Docker engine at {!r}: {}", self._host, printable(reason_of(exc), 200)),
                hint=Text(
                    "check that it runs, and that this user may use its socket (group docker); see "
                    "docker.host"
                ),
            ) from exc
        except (KeyError, TypeError, ValueError, AttributeError) as exc:
            raise DeployError(
                Text("the server at {!r} is not a Docker engine ({})", self._host, type(exc).__name__),
                hint=Text("correct docker.host"),
            ) from exc
