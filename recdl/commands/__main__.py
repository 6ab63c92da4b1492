"""`python -m recdl.commands <verb> overrides...` is `recdl <verb> overrides...`."""

from recdl.commands import main

main()
