"""How far an import is stands on one line of a terminal, and on a line now and then where there is none."""

import io

import pytest

from cli.importing.progress import EVERY_LINE, Progress


class Terminal(io.StringIO):
    def isatty(self):
        return True


def shown(out, *moments, quiet=False):
    """What is written when 1,000 rows more are done at each of these seconds."""
    clock = iter([0.0, *moments])
    progress = Progress(out, quiet=quiet, clock=lambda: next(clock))
    for count, _ in enumerate(moments, 1):
        progress.say("sending", 1000 * count, count / len(moments))
    progress.clear()
    return out.getvalue()


def test_terminal_has_one_line_that_is_gone_at_the_end():
    text = shown(Terminal(), 1.0, 2.0)
    first, second, *rest = text.split("\r")[1:]
    assert first == "sending: 1,000 rows, 50% of the file, 1,000 rows/s"
    assert second.strip() == "sending: 2,000 rows, 100% of the file, 1,000 rows/s"
    assert [one.strip() for one in rest] == ["", ""]


def test_elsewhere_there_is_a_line_every_few_seconds():
    assert shown(io.StringIO(), 1.0, EVERY_LINE, EVERY_LINE + 1, 2 * EVERY_LINE).splitlines() == [
        "sending: 2,000 rows, 50% of the file, 400 rows/s",
        "sending: 4,000 rows, 100% of the file, 400 rows/s",
    ]


@pytest.mark.parametrize("out", [io.StringIO(), Terminal()])
def test_nothing_is_said_where_one_json_object_is_wanted(out):
    assert shown(out, 10.0, 20.0, quiet=True) == ""
