"""Workers: results in order, the first error, and progress as lines of a log."""

import pytest

from wsipsm import compute


def square(number: int) -> int:
    if number == 13:
        raise ValueError("thirteen")
    return number * number


def test_results_come_in_the_order_of_the_items() -> None:
    assert compute.run_each(square, [3, 1, 2], workers=2, label="square") == [9, 1, 4]
    assert compute.run_each(square, [], workers=2, label="square") == []


def test_the_first_error_is_raised() -> None:
    with pytest.raises(ValueError, match="thirteen"):
        compute.run_each(square, [12, 13, 14], workers=1, label="square")


def test_progress_in_a_log_is_lines_of_what_was_paid(capsys: pytest.CaptureFixture[str]) -> None:
    compute.run_each(square, [1, 2], workers=1, label="tile", cost=lambda _: 4.2, unit="MP")
    lines = capsys.readouterr().err.splitlines()
    assert lines[-1].startswith("tile: 100 %, 8/8 MP, ")
    assert all("\r" not in line for line in lines)
