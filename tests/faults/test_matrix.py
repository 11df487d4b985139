"""The fault matrix and the tests that it is about: none is forgotten, and the page tells of what there is."""

from .matrix import PAGE, covering, page, rows


def test_every_row_has_its_number_once() -> None:
    assert [row.number for row in rows()] == [*range(1, len(rows()) + 1)]


def test_every_mark_names_a_row() -> None:
    assert set(covering()) <= {row.number for row in rows()}


def test_a_row_that_no_test_covers_says_why() -> None:
    covered = covering()
    assert [row.number for row in rows() if row.number not in covered and not row.lacks] == []


def test_a_row_that_tests_cover_no_longer_says_that_there_is_none() -> None:
    covered = covering()
    assert [row.number for row in rows() if row.number in covered and row.lacks == "no test yet"] == []


def test_the_page_is_that_of_the_rows_and_the_marks() -> None:
    assert PAGE.read_text() == page(rows(), covering()), "run: make docs"
