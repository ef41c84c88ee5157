"""``python -m relay``: the command ``agent-gateway``."""

import sys

from gateway_project.command import main

if __name__ == "__main__":
    sys.exit(main())
