"""``python -m passferry`` and the ``passferry`` command."""

from passferry.entrypoints.cli import main

if __name__ == "__main__":
    main()
