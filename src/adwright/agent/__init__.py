"""An agent that operates web consoles and apps by scripts that are checked before they act."""
