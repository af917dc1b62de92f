"""What a click rate is predicted from: the fields of a record as arrays."""
