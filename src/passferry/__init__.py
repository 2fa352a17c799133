"""Passferry: receives users' new passwords, keeps them sealed, and delivers them to Genesys Cloud."""

__version__ = "0.1.0"
