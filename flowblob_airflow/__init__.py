"""Use flowblob from Airflow."""
