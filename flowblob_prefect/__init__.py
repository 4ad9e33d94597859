"""Use flowblob from Prefect."""
