"""From a shaped `Network` to something that a runtime executes; one file a target."""
