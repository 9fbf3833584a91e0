"""The one exception that a user is meant to read."""


class UserError(Exception):
    """Something the user can put right; its text is one line that says what and how."""
