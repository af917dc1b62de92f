"""Keep programs in a folder, so that they go on after the process that runs them has died."""
