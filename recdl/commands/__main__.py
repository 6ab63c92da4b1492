"""`python -m recdl.commands <verb> overrides...` is `recdl <verb> overrides...`."""

from recdl.commands import main

if __name__ == "__main__":
    main()
