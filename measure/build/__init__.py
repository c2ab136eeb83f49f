"""From a shaped `Architecture` to something that a runtime executes; one file a target."""
