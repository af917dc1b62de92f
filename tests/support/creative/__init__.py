"""What tests of ads, their judges and their edits share."""
