"""Whole days of one org in virtual time."""
