"""Sites that lack one thing, for the tests of runs."""

import pytest
from support.scenes import Scene


@pytest.fixture
def unserved(scene: Scene) -> Scene:
    """A site whose certificate is published, and its record right; its container does not serve yet."""
    scene.publish()
    scene.point()
    return scene


@pytest.fixture
def unpointed(scene: Scene) -> Scene:
    """A site whose certificate is published and served; its record is missing."""
    scene.publish()
    scene.start()
    return scene
