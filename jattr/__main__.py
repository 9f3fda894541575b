"""`python -m jattr`: the same as the command `jattr`."""

from jattr.cli.main import console

if __name__ == "__main__":
    console()
