"""Language models: the engines that run them, and serving."""
