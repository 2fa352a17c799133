"""Thin: from HTTP, command line and directories to the use cases, and back in their words."""
