"""python -m adwright: the command line, where the `adwright` command is not on the path."""

from adwright.cli.app import main

if __name__ == "__main__":
    main()
