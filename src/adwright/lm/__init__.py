"""Floor 2: language models, the engines that run them, and the methods that tune them."""
