"""Which model decides for which tenant: loading, checking and replacing deployments."""
