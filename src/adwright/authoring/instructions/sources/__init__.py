"""Where instruction data come from: public data sets, and catalogues of products."""
