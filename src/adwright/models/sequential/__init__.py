"""Networks over whole histories: HSTU, SASRec, their losses, and M-FALCON inference."""
