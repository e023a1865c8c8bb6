"""The two failures that the delivery loop understands; anything else that is raised is a bug and stops the process.

Source: docs/decisions/0003 (one delivery loop).
"""


class TransientError(Exception):
    """It may work later: a lock, a broker or a database that is away. Retried in place; then the process stops."""


class UnprocessableError(Exception):
    """This record can never work. Its text is a reason that a person can act on; the record is parked alone."""


class ForgottenError(UnprocessableError):
    """The company was forgotten: its key is destroyed, so nothing of it can be worked, and nobody has to act."""
