"""Commands of asediff in the process of a test, and what they say."""

from asediff.cli import main


def told(arguments, capsys):
    """Exit code and standard error of a command."""
    try:
        code = main(arguments)
    except SystemExit as stop:
        code = stop.code
    return code, capsys.readouterr().err


def refused(arguments, capsys):
    """The one line on standard error of a command that ends with code 2."""
    code, line = told(arguments, capsys)
    assert code == 2
    assert line.startswith("asediff: error: ")
    assert line.count("\n") == 1
    return line
