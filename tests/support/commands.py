"""Commands as a user types them, within this process."""

from focusmap.cli import main


def assert_done(*words: object, code: int = 0) -> None:
    """Type a command, whose words may be paths and numbers, too; it must end with `code`."""
    assert main([str(word) for word in words]) == code, words
