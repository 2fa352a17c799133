"""Exit codes of hooks, as those of every command; and what a user is told when nothing else can be said."""

DONE, FAILED, USAGE, UNREACHABLE = 0, 1, 2, 3
SET_UP_WRONGLY = "The new password cannot be passed on: this system is set up wrongly."
