"""Metadata databases: one module per engine, the statements of all SQL engines in `sql`."""
