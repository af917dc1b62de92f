"""From a sentence to a script: macros, a planner and models, all checked before they act."""
