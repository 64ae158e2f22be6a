"""`python -m dreamer_plugin` is `dreamer-plugin`."""

from dreamer_plugin.doors.cli import main

if __name__ == "__main__":
    main()
