"""What the program says no with."""


class BackupError(Exception):
    """A failure that a person can act on; the message says what, where and what to do."""
