"""Run the command line: `python -m framehouse`."""

from framehouse.cli import main

if __name__ == "__main__":
    main()
