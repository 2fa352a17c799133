"""Revisions. Their names are the versions of `schema.VERSION`, in four digits."""
