"""`python -m cli` is `weir`, also where the command is not installed."""

from cli.main import main

if __name__ == "__main__":
    main()
