"""``python -m passferry`` and the ``passferry`` command."""

import sys


def main() -> None:
    """Run the command line; the process ends with one of its exit codes."""
    if sys.argv[1:2] == ["hook"]:  # first, and without the rest: a user waits for it
        from passferry.hooks.command import leave
        from passferry.hooks.command import main as hook

        leave(hook(sys.argv[2:]))
    from passferry.entrypoints.cli import main as cli

    cli()


if __name__ == "__main__":
    main()
