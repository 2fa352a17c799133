"""Use cases of the audit trail: verify it, export it, and delete its oldest records behind an export."""
