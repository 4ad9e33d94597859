"""Named, versioned, linked, verifiable objects for the outputs of workflow tasks."""

if __name__ != "flowblob":
    # An editable install puts the repository root on the path; a second copy of every class and of
    # the current run would make isinstance and linking fail in ways that nobody can see.
    raise ImportError(f"import flowblob, not {__name__}")
