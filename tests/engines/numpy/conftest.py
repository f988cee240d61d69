import pytest

from funcnet.engines.numpy import cores


@pytest.fixture
def three_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """Work on images is divided in three, however many cores there are."""
    monkeypatch.setattr(cores._BLAS, "threads", lambda: 3)
