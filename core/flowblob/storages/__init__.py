"""Where payload bytes are kept: one module per kind of storage."""
