"""Train and look up retrieval models: two towers and HCN."""
