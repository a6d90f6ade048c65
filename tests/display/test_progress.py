"""Progress: a bar only where somebody watches and there is something to wait for; items always as they come."""

from __future__ import annotations

import pytest

from taylorsgd.display import progress
from taylorsgd.display.progress import tracked


class Clock:
    """Time that passes by a second for each item."""

    def __init__(self, step: float) -> None:
        self.now, self.step = 0.0, step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


@pytest.fixture
def bars(monkeypatch):
    made = []

    class Bar:
        task_ids = (0,)

        def __init__(self) -> None:
            self.at: list[int] = []
            self.stopped = False

        def update(self, task: int, completed: int) -> None:
            self.at.append(completed)

        def stop(self) -> None:
            self.stopped = True

    def bar(what: str, total: float, done: int) -> Bar:
        made.append((Bar(), what, total, done))
        return made[-1][0]

    monkeypatch.setattr(progress, "_bar", bar)
    return made


@pytest.mark.parametrize("watched", [True, False])
@pytest.mark.parametrize("asked", [True, False, None])
@pytest.mark.parametrize("step", [0.001, 1.0])
def test_when_there_is_a_bar(monkeypatch, bars, watched: bool, asked: bool | None, step: float) -> None:
    monkeypatch.setattr(progress, "watched", lambda: watched)
    monkeypatch.setattr(progress, "monotonic", Clock(step))
    assert list(tracked(range(10), "Working", 10, asked)) == list(range(10))
    expected = asked or (asked is None and watched and step == 1.0)
    assert len(bars) == bool(expected)
    if bars:
        bar, what, total, done = bars[0]
        assert (what, total, bar.stopped) == ("Working", 10, True)
        assert bar.at[-1] == 10 and done == (0 if asked else 2)


def test_an_interrupt_takes_the_bar_away(monkeypatch, bars) -> None:
    def interrupted():
        yield 1
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        list(tracked(interrupted(), "Working", 5, True))
    assert bars[0][0].stopped


def test_a_real_bar_goes_to_standard_error(capsys) -> None:
    assert list(tracked("ab", "Spelling", 2, True)) == ["a", "b"]
    captured = capsys.readouterr()
    assert captured.out == "" and "Spelling" in captured.err
