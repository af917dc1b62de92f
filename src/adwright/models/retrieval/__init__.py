"""Networks of candidate generation and coarse ranking: two towers, HCN, ComiRec, MIND."""
