"""``python -m crisp COMMAND``: the command line, for programs that start modules, such as ``torchrun -m``."""

from crisp.cli import main

if __name__ == "__main__":
    main()
