"""Methods that add modules or inputs: adapters, prompts, prefixes, (IA)3 and SSF."""
