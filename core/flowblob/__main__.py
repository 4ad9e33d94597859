"""`python -m flowblob` is the command line."""

from flowblob.cli import main

if __name__ == "__main__":
    main()
