"""What ads are and show, whether they are clicked and remembered, how long they live."""
